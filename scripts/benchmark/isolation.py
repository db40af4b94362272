"""A world of its own for the benchmark: no network but loopback, and a process namespace that dies with it.

Ray listens on every interface whatever it is told, so this is safety as well as order. Where the kernel allows
no namespaces the benchmark still runs, on the machine's own network, and says so.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from typing import NoReturn

MARK = "GYM_RAY_BENCH_ISOLATED"
"""Environment variable that tells the inner process what it got: ``yes`` or ``no``."""
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
UNSHARE = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]


def isolate(package: str = "benchmark") -> bool:
    """Run this very command (``package``) again inside namespaces of its own; returns inside, whether it got them."""
    if MARK not in os.environ:
        _run_again(package)
    isolated = os.environ[MARK] == "yes"
    if isolated:
        _loopback_up()
    return isolated


def _run_again(package: str) -> NoReturn:
    prefix = next((one for one in (UNSHARE, [*UNSHARE, "--map-root-user"]) if _works(one)), None)
    if prefix is None:
        print("bench: no namespaces here: running on the machine's own network", file=sys.stderr)
    os.environ[MARK] = "no" if prefix is None else "yes"
    command = [*(prefix or []), sys.executable, "-m", package, *sys.argv[1:]]
    os.execvp(command[0], command)


def _works(prefix: list[str]) -> bool:
    if shutil.which(prefix[0]) is None:
        return False
    return subprocess.run([*prefix, "true"], capture_output=True, timeout=20, check=False).returncode == 0


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh14s", b"lo", 0, b"")
        flags = struct.unpack("16sh14s", fcntl.ioctl(handle, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sh14s", b"lo", flags | IFF_UP, b""))
