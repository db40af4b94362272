"""Namespaces by plain system calls: a child that sees nothing of this machine but what it is given.

The child is process 1 of its own process namespace, so that its end is the end of everything it started. Its root is a
fresh tmpfs with read-only binds; the machine's root is detached before any program runs. It has no network device
that is up, no privileges, and cannot get any. Order of what the parent and the child do::

    parent: clone ---------> map users --> go
    child:       wait for go                  --> mounts --> drop privileges --> seccomp

A privileged parent maps two users: inner 0 (the parent's, to reach what it may read while mounting) and inner 1000,
an unused user of the machine, which the child then is for good. Others map their own user to inner 1000.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from contextlib import suppress
from typing import Any

from . import seccomp

_NEW = {"mnt": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000}
_FLAGS = sum(_NEW.values()) | 0x20000000 | 0x40000000  # and pid, net
_SIGCHLD = 17
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 32, 4096, 16384, 1 << 19
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_CLONE, _PIVOT_ROOT, _CAPSET = {"x86_64": (56, 155, 126), "aarch64": (220, 41, 91)}.get(platform.machine(), (0, 0, 0))

USER = 1000
"""The program's user inside."""
OLD = "/.old"
UNUSED_USERS = (1_879_051_000, 64_999)
"""Users of the machine that nobody is, tried in order: the second fits a container's 65,536."""

_libc = ctypes.CDLL(None, use_errno=True)
# With the interpreter's lock held: between clone and the child's first line no other thread may take it.
_locked = ctypes.PyDLL(None, use_errno=True)


class JailError(Exception):
    """This machine does not allow one of the steps; the message names it."""


def clone() -> int:
    """Fork into new namespaces: 0 in the child, its process id in the parent."""
    pid: int = _locked.syscall(_CLONE, _FLAGS | _SIGCHLD, 0, 0, 0, 0)
    if pid < 0:
        raise JailError(f"new namespaces: {os.strerror(ctypes.get_errno())}")
    return pid


def map_users(pid: int) -> None:
    """Give the child its users. Called by the parent."""
    place = f"/proc/{pid}"
    user, group = os.geteuid(), os.getegid()
    if user != 0:
        _write(place + "/setgroups", "deny")
        _write(place + "/uid_map", f"{USER} {user} 1")
        _write(place + "/gid_map", f"{USER} {group} 1")
        return
    for other in UNUSED_USERS:
        try:
            _write(place + "/uid_map", f"0 0 1\n{USER} {other} 1")
            _write(place + "/gid_map", f"0 0 1\n{USER} {other} 1")
            return
        except JailError as error:
            problem = error
    raise problem


def enter(spec: dict[str, Any]) -> None:
    """Everything the child does. ``spec``: see ``gym_ray.sandbox.visible``.

    Raises:
        JailError: a step failed.
    """
    os.umask(0o022)
    _mount("", "/", "", _MS_REC | _MS_SLAVE)
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,nr_inodes=2k,mode=755")
    os.mkdir("/tmp" + OLD)
    os.chdir("/tmp")
    _check(_libc.syscall(_PIVOT_ROOT, b".", b"." + OLD.encode()), "pivot_root")
    os.chdir("/")
    _fill(spec)
    _check(_libc.umount2(OLD.encode(), _MNT_DETACH), "detach the old root")
    os.rmdir(OLD)
    _mount("", "/", "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    _check(_libc.sethostname(b"sandbox", 7), "sethostname")
    _drop_privileges()
    os.chdir("/tmp")


def _fill(spec: dict[str, Any]) -> None:
    for place in spec["binds"]:
        _bind(place["source"], place["target"])
    for place in spec["masks"]:
        _mount("tmpfs", place, "tmpfs", _MS_RDONLY | _MS_NOSUID | _MS_NODEV, "size=4k,nr_inodes=1,mode=755")
    for link, target in spec["links"].items():
        os.symlink(target, link)
    os.makedirs("/etc", exist_ok=True)
    for name, text in spec["texts"].items():
        with open(name, "w") as file:
            file.write(text)
    os.makedirs("/dev")
    for name in ("null", "zero", "full", "random", "urandom"):
        os.close(os.open("/dev/" + name, os.O_CREAT | os.O_WRONLY))
        _mount(OLD + "/dev/" + name, "/dev/" + name, "", _MS_BIND)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", "/dev/" + name)
    os.symlink("/proc/self/fd", "/dev/fd")
    os.symlink("/tmp", "/dev/shm")
    os.mkdir("/proc")
    # Inside some containers a new /proc may not be mounted: programs do without, and memory is bounded per process.
    with suppress(JailError):
        _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    os.mkdir("/tmp")
    options = f"size={spec['tmp_bytes']},nr_inodes={spec['tmp_files']},mode=1777"
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, options)


def _bind(source: str, target: str) -> None:
    source = OLD + source
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    _mount(source, target, "", _MS_BIND | _MS_REC)
    # What the machine locked (noexec, noatime, ...) must be said again.
    held = os.statvfs(target).f_flag
    again = held & (2 | 4 | 8 | 1024 | 2048) | ((1 << 21) if held & 4096 else 0)
    _mount("", target, "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | again)


def _drop_privileges() -> None:
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    if os.getuid() != USER:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
    header = struct.pack("<Ii", 0x20080522, 0)
    _check(_libc.syscall(_CAPSET, header, bytes(24)), "give up capabilities")
    _check(_libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "die with the parent")
    harden()


def harden() -> None:
    """No new privileges, no tracing of this process, and the system call filter.

    Raises:
        JailError: the kernel refuses.
    """
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "dumpable")
    try:
        seccomp.install()
    except OSError as error:
        raise JailError(str(error)) from None


def own_files() -> None:
    """Let a program see its own ``/proc/self``, which :func:`harden` closed for the supervisor."""
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    done = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _check(done, f"mount {target if kind else (source or 'again') + ' on ' + target}")


def _write(path: str, text: str) -> None:
    try:
        with open(path, "wb", buffering=0) as file:
            file.write(text.encode())
    except OSError as error:
        raise JailError(f"{os.path.basename(path)}: {error.strerror}") from None


def _check(done: int, step: str) -> None:
    if done != 0:
        raise JailError(f"{step}: {os.strerror(ctypes.get_errno())}")
