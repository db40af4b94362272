"""Sandboxes on this machine by its own namespaces: no daemon, no privileges, a few milliseconds each."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from gym_ray.sandbox.channel import Channel
from gym_ray.sandbox.guest import seccomp
from gym_ray.sandbox.provider import START_S, Sandbox, SandboxUnavailable
from gym_ray.sandbox.visible import environment

FOLDER = str(Path(__file__).parent)


def guest_command(python: str, module: str, *arguments: str, folder: str = FOLDER) -> list[str]:
    """A bare interpreter that runs ``main`` of a module of :mod:`gym_ray.sandbox.guest`."""
    code = f"import sys; sys.path.insert(0, {folder!r}); from guest.{module} import main; main()"
    return [python, "-I", "-S", "-c", code, *arguments]


class Namespaces:
    """A provider (see ``Provider``). ``view``: what its sandboxes see, from :mod:`gym_ray.sandbox.visible`."""

    name = "namespaces"

    def __init__(self, view: dict[str, Any]) -> None:
        self._view, self._env = view, environment()
        self._ids = itertools.count()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> Sandbox:
        """See ``Provider``. Starts the launcher first, also again when it died."""
        if not seccomp.available():
            raise SandboxUnavailable("no system call filter for this processor")
        if self._process is None or self._process.poll() is not None:
            self._launch()
        assert self._control is not None
        number, control = next(self._ids), self._control
        ours, theirs = socket.socketpair()
        with theirs:
            request = json.dumps({"id": number, "spec": self._view}).encode()
            try:
                await _send(control, request, [theirs.fileno()])
            except BaseException as error:
                ours.close()
                if isinstance(error, OSError):  # TimeoutError is one
                    raise SandboxUnavailable(f"the launcher does not answer: {error.strerror or error}") from None
                raise
        sandbox = Sandbox(Channel(ours), self._env, lambda: _kill(control, number))
        await sandbox.ready()
        return sandbox

    async def aclose(self) -> None:
        """See ``Provider``. The launcher ends its children and itself when its control socket closes."""
        if self._control is not None and self._process is not None:
            self._control.close()
            await asyncio.get_running_loop().run_in_executor(None, _wait, self._process)
            self._control = self._process = None

    def _launch(self) -> None:
        if self._control is not None:
            self._control.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(
                guest_command(sys.executable, "launcher", str(theirs.fileno())),
                env={"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
            )
        self._control = ours


async def _send(control: socket.socket, message: bytes, descriptors: list[int]) -> None:
    async with asyncio.timeout(START_S):
        while True:
            try:
                socket.send_fds(control, [message], descriptors)
                return
            except BlockingIOError:
                await asyncio.sleep(0.005)


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(10.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _kill(control: socket.socket, number: int) -> None:
    # The hang-up alone ends a sandbox whose supervisor listens; this ends one that cannot.
    try:
        control.send(json.dumps({"kill": number}).encode())
    except OSError:
        return
