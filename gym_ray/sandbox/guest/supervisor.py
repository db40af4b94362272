"""The first process inside: runs programs, feeds them, bounds them, and tells the host what they did.

It serves one host over one descriptor, one request at a time (:mod:`.wire`):

===========  ==================================================================
``run``      start a program, answer when it and all it started are gone
``execute``  run source in the interpreter that lives on between requests
===========  ==================================================================

Programs share its user, so it is guarded otherwise: it cannot be traced or opened (not dumpable), as process 1 it
ignores their signals, and they inherit no descriptor of its. What it reports is believed only as far as a program's own
output would be: whoever compares results does so outside.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from . import jail, program, wire
from .program import Limits, Program

WORK = "/tmp"
"""Where programs run and files are put."""


class Supervisor:
    """Serves requests until the host hangs up."""

    def __init__(self, requests: int, answers: int, work: str) -> None:
        self._in, self._out, self._work = requests, answers, work
        self._reader = wire.Reader(1 << 30)
        self._session: Program | None = None

    def serve(self) -> None:
        """The loop. Never returns before the host hangs up."""
        wire.send(self._out, {"ready": True})
        while True:
            try:
                header, blobs = wire.receive(self._in, self._reader)
            except (EOFError, ConnectionError, wire.BrokenFrame):
                return
            try:
                answer, out = self._answer(header, blobs)
            except OSError as error:
                answer, out = {"failed": f"{type(error).__name__}: {error}"}, []
                self._end_all()
            wire.send(self._out, answer, *out)

    def _answer(self, header: dict[str, Any], blobs: list[bytes]) -> wire.Message:
        limits = Limits(**header["limits"])
        for name in header.get("files", ()):
            self._put(name, blobs.pop())
        if header["op"] == "run":
            one = Program(header, blobs, limits, self._work)
            try:
                return one.finish()
            finally:
                self._end_all()
        return self._execute(header, blobs, limits)

    def _execute(self, header: dict[str, Any], blobs: list[bytes], limits: Limits) -> wire.Message:
        fresh = self._session is None
        if self._session is None:
            self._session = Program({**header, "session": True}, [b"", b""], limits, self._work)
        answer, out = self._session.execute(blobs[0], limits)
        if answer["ended"]:
            self._session = None
            self._end_all()
        return {**answer, "fresh": fresh}, out

    def _put(self, name: str, content: bytes) -> None:
        path = os.path.join(self._work, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)

    def _end_all(self) -> None:
        self._session = None
        program.end_all()


def main(requests: int = 0, answers: int = 1, guarded: bool = False) -> None:
    """Entry point: requests on standard input, answers on standard output; ``supervisor [FOLDER]`` to work in.

    ``guarded``: the caller has hardened this process already.
    """
    work = WORK if guarded or len(sys.argv) < 2 else sys.argv[1]
    requests, answers = os.dup(requests), os.dup(answers)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not guarded:
        try:
            jail.harden()
        except jail.JailError as error:
            # The container's own filter may stand; without any the host was told by its provider.
            print(f"sandbox: {error}", file=sys.stderr)
    program.adopt_orphans()
    Supervisor(requests, answers, work).serve()
    program.end_all()
