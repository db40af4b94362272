"""One program under limits: a child process, its pipes, and the watch over everything it starts.

A Python program given as source runs in a fork of the supervisor, which has the standard library's common modules
loaded: a millisecond instead of an interpreter's start. Any other is executed.

The watch ends the program at its deadline, when the memory of all processes together is above the limit (looked at
every :data:`LOOK_S`; a single process is also bounded by its address space), and otherwise when the program itself
ends. Output above the limit is read and dropped, so that a flood neither grows memory nor blocks.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import select
import signal
import socket
import struct
import time
from contextlib import suppress
from typing import Any

from . import interpreter, jail, wire

LOOK_S = 0.02
"""Seconds between looks at the tree's memory."""
CHUNK = 1 << 16
_DONE = b"\0"
_PR_SET_CHILD_SUBREAPER = 36
_PAGE = resource.getpagesize()


class Limits:
    """What a program may use. Seconds and bytes; ``processes`` counts threads as well."""

    def __init__(
        self,
        wall_s: float,
        cpu_s: float,
        memory_bytes: int,
        processes: int,
        file_bytes: int,
        open_files: int,
        output_bytes: int,
    ) -> None:
        self.wall_s, self.cpu_s, self.memory_bytes = wall_s, cpu_s, memory_bytes
        self.processes, self.file_bytes = processes, file_bytes
        self.open_files, self.output_bytes = open_files, output_bytes

    def apply(self, session: bool) -> None:
        """Bound this process and what it starts. A session's CPU time is bounded per request, by its deadline."""
        cpu = resource.RLIM_INFINITY if session else max(1, math.ceil(self.cpu_s))
        hard = cpu if session else cpu + 1
        # Address space is not memory: interpreters and libraries reserve more than they use.
        space = 2 * self.memory_bytes + (1 << 30)
        for which, soft, most in (
            (resource.RLIMIT_CPU, cpu, hard),
            (resource.RLIMIT_AS, space, space),
            (resource.RLIMIT_FSIZE, self.file_bytes, self.file_bytes),
            (resource.RLIMIT_NOFILE, self.open_files, self.open_files),
            (resource.RLIMIT_CORE, 0, 0),
            (resource.RLIMIT_NPROC, self.processes, self.processes),
            (resource.RLIMIT_STACK, min(self.memory_bytes, 1 << 28), self.memory_bytes),
        ):
            _lower(which, soft, most)


def _lower(which: int, soft: int, most: int) -> None:
    _, held = resource.getrlimit(which)
    if held != resource.RLIM_INFINITY:
        most = held if most == resource.RLIM_INFINITY else min(most, held)
        soft = most if soft == resource.RLIM_INFINITY else min(soft, most)
    resource.setrlimit(which, (soft, most))


class _Output:
    """What comes out of one pipe, up to a limit."""

    def __init__(self) -> None:
        self.kept, self.cut = bytearray(), False

    def add(self, data: bytes, limit: int) -> None:
        room = limit - len(self.kept)
        self.cut = self.cut or len(data) > room
        self.kept += data[: max(0, room)]


class Program:
    """A started program. ``header``: ``argv``, or ``python`` (arguments of the source in ``blobs[1]``); ``env``.

    ``blobs[0]`` is its standard input.
    """

    def __init__(self, header: dict[str, Any], blobs: list[bytes], limits: Limits, work: str) -> None:
        self._limits, self._input = limits, memoryview(blobs[0])
        self._began = time.monotonic()
        self._used = (0.0, 0)
        stdin, self._stdin = os.pipe()
        self._stdout, stdout = os.pipe()
        self._stderr, stderr = os.pipe()
        ours, theirs = socket.socketpair()
        self._control = ours.detach()
        control = theirs.detach()
        self.pid = os.fork()
        if self.pid == 0:
            _become(header, blobs, limits, work, (stdin, stdout, stderr), control)
        for descriptor in (stdin, stdout, stderr, control):
            os.close(descriptor)
        self._exit = os.pidfd_open(self.pid)
        for descriptor in (self._stdin, self._stdout, self._stderr, self._control):
            os.set_blocking(descriptor, False)
        self._new_output()

    def finish(self) -> wire.Message:
        """Watch until the program ends or is ended. Nothing of it is left then but orphans."""
        killed = self._watch(self._began + self._limits.wall_s, until_done=False)
        return self._ended(killed)

    def execute(self, source: bytes, limits: Limits) -> wire.Message:
        """Run source in a session's interpreter. ``ended``: the interpreter is gone."""
        self._limits = limits
        self._new_output()
        began = time.monotonic()
        os.set_blocking(self._control, True)
        try:
            os.write(self._control, struct.pack("<I", len(source)))
            view = memoryview(source)
            while view:
                view = view[os.write(self._control, view) :]
        except OSError:
            return self._ended("")
        os.set_blocking(self._control, False)
        killed = self._watch(began + limits.wall_s, until_done=True)
        if killed is not None:
            return self._ended(killed)
        self._drain()
        return self._report({"ended": False, "killed": "", "wall_s": time.monotonic() - began})

    def _new_output(self) -> None:
        self._outputs = {self._stdout: _Output(), self._stderr: _Output()}

    def _watch(self, deadline: float, until_done: bool) -> str | None:
        """Move bytes until the end. Why it has to be killed, "" if it ended, None if a session's request is done."""
        poller = select.poll()
        for descriptor in (self._exit, self._stdout, self._stderr):
            poller.register(descriptor, select.POLLIN)
        if until_done:
            poller.register(self._control, select.POLLIN)
        if self._stdin >= 0:
            poller.register(self._stdin, select.POLLOUT)
        look = time.monotonic() + LOOK_S
        while True:
            now = time.monotonic()
            if now >= deadline:
                return "deadline"
            if now >= look:
                look = now + LOOK_S
                if tree_bytes(self._limits.memory_bytes) > self._limits.memory_bytes:
                    return "memory"
            for descriptor, _ in poller.poll(1000 * max(0.0, min(deadline, look) - now)):
                if descriptor == self._exit:
                    return ""
                if descriptor == self._control:
                    if self._said_done():
                        return None
                    poller.unregister(descriptor)
                elif descriptor == self._stdin:
                    if self._feed():
                        poller.unregister(descriptor)
                        os.close(descriptor)
                        self._stdin = -1
                elif not self._take(descriptor):
                    poller.unregister(descriptor)

    def _said_done(self) -> bool:
        try:
            return os.read(self._control, 1) == _DONE
        except OSError:
            return False

    def _feed(self) -> bool:
        """Write more of the input. True when there is no more to write, or nobody reads it."""
        try:
            while self._input:
                self._input = self._input[os.write(self._stdin, self._input[:CHUNK]) :]
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def _take(self, descriptor: int) -> bool:
        """Read what there is. False at the end."""
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return True
        self._outputs[descriptor].add(data, self._limits.output_bytes)
        return bool(data)

    def _drain(self) -> None:
        # A pipe holds no more than this; whoever still writes is not waited for.
        for descriptor in self._outputs:
            for _ in range(16):
                try:
                    data = os.read(descriptor, CHUNK)
                except BlockingIOError:
                    break
                if not data:
                    break
                self._outputs[descriptor].add(data, self._limits.output_bytes)

    def _ended(self, killed: str | None) -> wire.Message:
        seconds = time.monotonic() - self._began
        if killed:
            _signal(self.pid)
        _, status, usage = os.wait4(self.pid, 0)
        self._drain()
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        cpu_s = usage.ru_utime + usage.ru_stime
        if not killed and number in (signal.SIGXCPU, signal.SIGKILL) and cpu_s >= math.ceil(self._limits.cpu_s) - 0.1:
            killed = "cpu"
        header = {
            "ended": True,
            "killed": killed or "",
            "exit": None if number else os.WEXITSTATUS(status),
            "signal": number or None,
            "cpu_s": cpu_s,
            "wall_s": seconds,
            "memory_bytes": usage.ru_maxrss * 1024,
        }
        answer = self._report(header)
        for descriptor in (self._stdin, self._stdout, self._stderr, self._control, self._exit):
            if descriptor >= 0:
                os.close(descriptor)
        return answer

    def _report(self, header: dict[str, Any]) -> wire.Message:
        out, err = self._outputs[self._stdout], self._outputs[self._stderr]
        return {**header, "cut": [out.cut, err.cut]}, [bytes(out.kept), bytes(err.kept)]


def _become(
    header: dict[str, Any], blobs: list[bytes], limits: Limits, work: str, pipes: tuple[int, ...], control: int
) -> None:
    """The child: never returns."""
    status = 125
    try:
        os.setsid()
        for number, descriptor in enumerate(pipes):
            os.dup2(descriptor, number)
        session = bool(header.get("session"))
        if session:
            os.dup2(control, 3)
        # Nothing of the supervisor's stays open: only the pipes, and a session's control channel.
        os.closerange(4 if session else 3, 4096)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(work)
        limits.apply(session)
        if "argv" in header:
            os.execvpe(header["argv"][0], header["argv"], header["env"])
        jail.own_files()
        if session:
            status = interpreter.serve(3, header["env"])
        else:
            status = interpreter.run(blobs[1], header["python"], header["env"])
    except BaseException as error:
        with suppress(OSError):
            os.write(2, f"sandbox: {type(error).__name__}: {error}\n".encode())
        status = 127 if isinstance(error, FileNotFoundError) else 125
    finally:
        os._exit(status)


def tree_bytes(enough: int) -> int:
    """Resident memory of every process here but this one. Shared pages count once where the sum is above ``enough``."""
    total = _sum_of("statm")
    return _sum_of("smaps_rollup") if total > enough else total


def _sum_of(name: str) -> int:
    total, own = 0, os.getpid()
    for pid in _others(own):
        try:
            with open(f"/proc/{pid}/{name}") as file:
                text = file.read()
        except OSError:
            continue
        if name == "statm":
            total += int(text.split()[1]) * _PAGE
        else:
            total += next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total


def _others(own: int) -> list[int]:
    """All processes here but this one; outside of a namespace of our own, its descendants."""
    try:
        found = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != own]
    except OSError:
        return []
    if own == 1:
        return found
    parents = {pid: _parent(pid) for pid in found}
    family = {own}
    while True:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        if not more:
            return sorted(family - {own})
        family |= more


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return -1


def adopt_orphans() -> None:
    """Become the parent of whatever loses its own, as process 1 is anyway."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_all() -> None:
    """Kill and reap everything but this process."""
    while True:
        if os.getpid() == 1:
            _signal(-1)
        else:
            for pid in _others(os.getpid()):
                _signal(pid)
        try:
            if os.waitpid(-1, 0) == (0, 0):
                return
        except ChildProcessError:
            return


def _signal(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
