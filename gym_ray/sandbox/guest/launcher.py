"""Forks jails on this machine: a small interpreter that starts once and is asked for one jail after another.

A request is one message on the control socket, with the jail's end of its channel as a passed descriptor:
``{"id", "spec"}``; ``{"kill": id}`` ends one. The child says on its channel that it is ready, or why it cannot be.
Children die with this process, and it ends when the control socket closes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from typing import Any

from . import jail, seccomp, supervisor, wire

# What programs import most, loaded once for all forks.
PRELOAD = (
    "array base64 bisect calendar cmath collections contextlib copy csv dataclasses datetime decimal enum fractions "
    "functools hashlib heapq io itertools json math numbers operator os pickle pprint queue random re statistics "
    "string struct subprocess sys tempfile textwrap threading time traceback typing unicodedata"
)


class Launcher:
    """The loop. Children by id."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, int] = {}

    def serve(self) -> None:
        """Until the control socket closes."""
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        while True:
            ready, _, _ = select.select([self._control.fileno(), woken], [], [])
            if woken in ready:
                os.read(woken, 4096)
                self._reap()
            if self._control.fileno() in ready and not self._request():
                break
        for pid in self._children.values():
            os.kill(pid, signal.SIGKILL)
        while self._children:
            self._reap(0)

    def _request(self) -> bool:
        raw, descriptors, _, _ = socket.recv_fds(self._control, 1 << 20, 1)
        if not raw:
            return False
        request = json.loads(raw)
        if "kill" in request:
            pid = self._children.get(request["kill"])
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
            return True
        channel = descriptors[0]
        try:
            self._children[request["id"]] = self._start(request["spec"], channel)
        except jail.JailError as error:
            wire.send(channel, {"error": str(error)})
        finally:
            os.close(channel)
        return True

    def _start(self, spec: dict[str, Any], channel: int) -> int:
        wait, go = os.pipe()
        pid = jail.clone()
        if pid == 0:
            os.close(go)
            self._child(spec, channel, wait)
        os.close(wait)
        try:
            jail.map_users(pid)
            os.write(go, b"\0")
        except (jail.JailError, OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        finally:
            os.close(go)
        return pid

    def _child(self, spec: dict[str, Any], channel: int, wait: int) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if os.read(wait, 1):
                os.dup2(channel, 3)
                os.closerange(4, 4096)
                jail.enter(spec)
                supervisor.main(3, 3, guarded=True)
                status = 0
        except (jail.JailError, OSError) as error:
            wire.send(3, {"error": str(error)})
        finally:
            os._exit(status)

    def _reap(self, options: int = os.WNOHANG) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, options)
            except ChildProcessError:
                self._children.clear()
                return
            if pid == 0:
                return
            self._children = {number: other for number, other in self._children.items() if other != pid}


def main() -> None:
    """``launcher FD``: the control socket."""
    for name in PRELOAD.split():
        __import__(name)
    seccomp.program()
    # A terminal's interrupt is the host's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setsid()
    Launcher(socket.socket(fileno=int(sys.argv[1]))).serve()
