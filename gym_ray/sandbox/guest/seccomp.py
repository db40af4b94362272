"""A seccomp filter: what no program in a sandbox needs, and what could lead out of it, is refused.

A deny list, because programs written by models call anything; the wall is the namespaces, and this makes the kernel
behind it smaller. Refused are: tracing and reading other processes, mounts and namespaces, keys, kernel modules, BPF,
io_uring, clocks, memory that no limit counts (memfd, System V shared memory), sockets other than Unix ones, limits of
other processes. System call numbers: Linux's ``syscall_64.tbl`` and ``asm-generic/unistd.h``.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from functools import lru_cache

_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_NAMESPACES = 0x7E020080
"""CLONE_NEW*: mnt 0x20000, cgroup, uts, ipc, user, pid, net, and time 0x80 (which clone itself reads as a signal)."""
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

_X86_64 = [
    *(29, 30, 31, 64, 68, 101, 103, 134, 135, 153, 154, 155, 159, 161, *range(163, 174), 175, 176, 179, 212, 227),
    *(237, 238, 240, 246, 248, 249, 250, 256, 272, 278, 279, 298, 300, 303, 304, 305, 308, 310, 311, 312, 313, 319),
    *(320, 321, 323, *range(425, 434), 438, 440, 442, 447),
]
_AARCH64 = [
    *(18, 39, 40, 41, 51, 58, 60, 75, 89, 92, 97, 104, 105, 106, 112, 116, 117, 142, 161, 162, 170, 171, 180, 186, 190),
    *(194, 195, 196, 217, 218, 219, 224, 225, 235, 237, 238, 239, 241, 262, 264, 265, 266, 268, 270, 271, 272, 273),
    *(279, 280, 282, 294, *range(425, 434), 438, 440, 442, 447),
]
# architecture, refused, then the numbers of socket, clone and prlimit64
_TABLES = {
    "x86_64": (0xC000003E, _X86_64, 41, 56, 302),
    "aarch64": (0xC00000B7, _AARCH64, 198, 220, 261),
}
_CLONE3 = 435


class _Header(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def available() -> bool:
    """Whether there is a table for this machine."""
    return platform.machine() in _TABLES


@lru_cache(maxsize=1)
def program() -> bytes:
    """The filter as an array of ``struct sock_filter``. A launcher makes it once for all its forks."""
    architecture, refused, socket, clone, prlimit = _TABLES[platform.machine()]
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_ABOVE, 0, 1, 0x40000000),  # x32 calls on x86_64
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        # The C library falls back to clone, whose flags can be read here.
        (_JUMP_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    for number in refused:
        code += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    code += _on_argument(socket, (_JUMP_EQUAL, 1, 0, 1))  # AF_UNIX
    code += _on_argument(clone, (_JUMP_BITS, 0, 1, _NAMESPACES & ~0x80))
    code += _on_argument(prlimit, (_JUMP_EQUAL, 1, 0, 0))  # the caller itself
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *line) for line in code)


def _on_argument(number: int, test: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """For one call: refuse it unless ``test`` of its first argument jumps over the refusal."""
    return [
        (_JUMP_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        test,
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def install() -> None:
    """Filter this process and all it will start. It must have given up new privileges before.

    Raises:
        OSError: the kernel refuses.
    """
    raw = program()
    buffer = ctypes.create_string_buffer(raw, len(raw))
    header = _Header(len(raw) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(header), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
