"""An environment in a child process with a Python of its own: what it imports, blocks or crashes stays there.

Invariants:

- The child runs an office (``child_main``); letters pass through unread. Without its answers nothing is made up.
- It dies with this process. When it dies by itself, or is stuck for :data:`STUCK_S`, ``ended`` is called, once: its
  sessions are gone, and whoever holds this should end too.
- It is started once. Why that failed is told to all who ask.
- What the environment prints goes where this process's output goes; the socket is out of its way.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.duplex import Duplex
from gym_ray.resources.judge import JudgeModel, JudgeReply, Judges
from gym_ray.resources.office import Facts
from gym_ray.resources.offspring import how_it_ended
from gym_ray.resources.requirements import Requirements
from gym_ray.resources.venv import interpreter, is_ours
from gym_ray.types.errors import UserError

STUCK_S = 90.0
"""An exchange takes a second. A child that answers none for so long is blocked for good."""
CLOSE_S = 8.0
"""How long the child may take to close its sessions."""
BOOT = Path(__file__).with_name("child_boot.py")


class ChildOffice:
    """An ``Office`` in a child process. ``start_s``: deadline for the child to import and make the class."""

    def __init__(
        self,
        name: str,
        config: EnvironmentConfig,
        requirements: Requirements | None,
        judges: Judges | None,
        start_s: float,
        ended: Callable[[str], None],
    ) -> None:
        self._name, self._config, self._requirements = name, config, requirements
        self._judges, self._start_s, self._ended = judges, start_s, ended
        self._models: dict[str, JudgeModel] = {}
        self._starting: asyncio.Task[Facts] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._duplex: Duplex | None = None
        self._serves = self._gone = False
        self._broken = ""

    async def describe(self) -> Facts | str:
        """See ``Office``. Starts the child, and before that makes its Python where there is none yet."""
        try:
            return await self._started()
        except UserError as error:
            return str(error)

    async def exchange(self, letter: bytes) -> bytes:
        """See ``Office``."""
        await self._started()
        assert self._duplex is not None
        try:
            async with asyncio.timeout(STUCK_S):
                reply: bytes = await self._duplex.call("exchange", letter)
                return reply
        except TimeoutError:
            self._end(f"has answered nothing for {STUCK_S:g} s")
            raise

    async def aclose(self) -> None:
        """See ``Office``. Ends the child."""
        serves, self._serves = self._serves, False
        if serves and self._duplex is not None:
            with suppress(TimeoutError, ConnectionError, RuntimeError):
                async with asyncio.timeout(CLOSE_S):
                    await self._duplex.call("close")
        await asyncio.to_thread(self._kill)
        for model in self._models.values():
            await model.close()

    async def _started(self) -> Facts:
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> Facts:
        python = await asyncio.to_thread(interpreter, self._config.python, self._requirements)
        ours_too = await asyncio.to_thread(is_ours, self._config.python)
        ours, theirs = socket.socketpair()
        with theirs:
            # On this thread: the child lives as long as the thread that starts it.
            self._process = _spawn(python, theirs, ours_too)
        self._duplex = await Duplex.over(ours, self._answer, self._lost)
        try:
            async with asyncio.timeout(self._start_s):
                facts: Facts | str = await self._duplex.call("open", self._name, self._config.model_dump())
        except TimeoutError:
            self._process.send_signal(signal.SIGUSR1)  # It writes down where it hangs.
            await asyncio.to_thread(self._kill, 0.5)
            facts = f"not ready after {self._start_s:g} s: `{self._config.server}` is still being imported or made"
            raise self._mistake(f"its process was {facts}") from None
        except ConnectionError:
            how = await asyncio.to_thread(self._kill, 1.0)
            raise self._mistake(self._broken or f"its process {how} as it started") from None
        if isinstance(facts, str):
            await asyncio.to_thread(self._kill)
            raise UserError(facts)
        self._serves = True
        if self._gone:
            self._lost()
        return facts

    async def _answer(self, operation: str, *arguments: Any) -> Any:
        """A call from the child."""
        if operation == "known":
            return [name for name in arguments[0] if self._judges is not None and name in self._judges]
        if operation == "judge":
            return await self._judge(*arguments)
        self._broken = str(arguments[0])
        return None

    async def _judge(self, name: str, request: bytes) -> JudgeReply:
        assert self._judges is not None
        if name not in self._models:
            self._models[name] = self._judges.open(name)
        items, params = orjson.loads(request)
        return await self._models[name].respond(items, params)

    def _lost(self) -> None:
        self._gone = True
        if self._serves:
            self._end(self._kill(1.0))

    def _end(self, how: str) -> None:
        if self._serves:
            self._serves = False
            self._ended(f"environment `{self._name}`: its process {how}")

    def _kill(self, patience_s: float = 0.0) -> str:
        """End the child and what it started in its group, unless it ends within ``patience_s``. How it ended."""
        if self._process is None:
            return "was never started"
        with suppress(subprocess.TimeoutExpired):
            return how_it_ended(self._process.wait(patience_s))
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return how_it_ended(self._process.wait())

    def _mistake(self, reason: str) -> UserError:
        return UserError(f"environment `{self._name}`: {reason}; its output is in the log of the actor")


def _spawn(python: str, theirs: socket.socket, ours: bool) -> subprocess.Popen[bytes]:
    """``ours``: the child's Python can load the packages of this one."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PATH"] = os.pathsep.join([str(Path(python).parent), environment.get("PATH", os.defpath)])
    if ours:
        environment["GYM_RAY_PATH"] = os.pathsep.join(place or os.getcwd() for place in sys.path)
    return subprocess.Popen(
        [python, "-P", str(BOOT), str(theirs.fileno()), str(os.getpid())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        env=environment,
        process_group=0,
    )
