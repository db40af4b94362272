"""Sandboxes that another program builds: the supervisor is its child, requests and answers are its standard streams."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from gym_ray.sandbox.channel import Channel
from gym_ray.sandbox.provider import Sandbox, SandboxUnavailable

Command = Callable[[str], list[str]]
"""From a sandbox's unique name to an argument list."""


@dataclass
class Spawned:
    """A provider (see ``Provider``). ``command`` starts a sandbox, ``end`` also removes it by name where needed.

    ``user``: whom to start it as, for a privileged process that must not lend its own user. ``env``: what programs get.
    """

    name: str
    command: Command
    env: dict[str, str]
    end: Command | None = None
    user: int | None = None
    folder: bool = False
    """Make a folder for each sandbox and name it as the last argument (where the wall has no ``/tmp`` of its own)."""
    _open: set[Sandbox] = field(default_factory=set)
    _ending: set[asyncio.Future[None]] = field(default_factory=set)

    async def start(self) -> Sandbox:
        """See ``Provider``."""
        name = f"gym-ray-{uuid.uuid4().hex[:16]}"
        work = tempfile.mkdtemp(prefix=f"{name}-") if self.folder else None
        ours, theirs = socket.socketpair()
        said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by _end
        with theirs:
            try:
                process = self._spawn([*self.command(name), *([work] if work else [])], theirs, said)
            except OSError as error:
                ours.close()
                said.close()
                raise SandboxUnavailable(f"{self.name}: {error.strerror}: {error.filename}") from None

        def kill() -> None:
            self._open.discard(sandbox)
            future = asyncio.get_running_loop().run_in_executor(None, self._end, name, process, work, said)
            self._ending.add(future)
            future.add_done_callback(self._ending.discard)

        env = {**self.env, "HOME": work, "TMPDIR": work} if work else self.env
        sandbox = Sandbox(Channel(ours), env, kill)
        self._open.add(sandbox)
        try:
            await sandbox.ready()
        except SandboxUnavailable as error:
            await asyncio.gather(*self._ending)
            raise SandboxUnavailable(f"{self.name}: {error}{self._last_words.pop(name, '')}") from None
        return sandbox

    async def aclose(self) -> None:
        """See ``Provider``."""
        for sandbox in list(self._open):
            sandbox.close()
        await asyncio.gather(*self._ending)

    def __post_init__(self) -> None:
        self._last_words: dict[str, str] = {}

    def _spawn(self, command: list[str], channel: socket.socket, said: IO[bytes]) -> subprocess.Popen[bytes]:
        groups: list[str | int] | None = None if self.user is None else []
        return subprocess.Popen(
            command,
            stdin=channel.fileno(),
            stdout=channel.fileno(),
            stderr=said.fileno(),
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"},
            start_new_session=True,
            user=self.user,
            group=self.user,
            extra_groups=groups,
        )

    def _end(self, name: str, process: subprocess.Popen[bytes], work: str | None, said: IO[bytes]) -> None:
        """In a thread: kill, wait, clean up."""
        if self.end is not None:
            with suppress(OSError, subprocess.TimeoutExpired):
                quiet = subprocess.DEVNULL
                subprocess.run(self.end(name), stdin=quiet, stdout=quiet, stderr=quiet, timeout=30, check=False)
        # A supervisor without a wall kills its programs when the channel ends; it gets a moment for that.
        with suppress(subprocess.TimeoutExpired):
            process.wait(2.0)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        said.seek(0)
        words = said.read(4000).decode(errors="replace").strip().splitlines()
        if words:
            self._last_words = {name: f": {words[-1][:300]}"}
        said.close()
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
