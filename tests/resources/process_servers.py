"""Environments for a process of their own. Loaded by path there, and by tests, which lack their packages."""
# ruff: noqa: ASYNC251

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from gym_ray import ResourcesServer, TaskRow, Trajectory, tool
from gym_ray.types.errors import FailureKind, RolloutError, Stage


class Own(ResourcesServer):
    """Has packages of its own, talks a lot, dies when told to."""

    @tool
    async def packages(self, session: dict[str, Any]) -> str:
        "What can be imported here."
        import gym_ray_stranger
        import regex

        return f"{gym_ray_stranger.__version__} {regex.__version__} ray={'ray' in sys.modules}"

    @tool
    async def noise(self, session: dict[str, Any]) -> str:
        "Write to whatever is open."
        print("chatter on standard output", flush=True)
        os.write(1, b"raw chatter\n")
        os.write(2, b"raw chatter\n")
        return "said"

    @tool
    async def block(self, session: dict[str, Any], seconds: float) -> str:
        "Keep the event loop."
        time.sleep(seconds)
        return "awake"

    @tool
    async def double(self, session: dict[str, Any], text: str) -> str:
        "The same, twice."
        return text + text

    @tool
    async def parent(self, session: dict[str, Any]) -> str:
        "Whose child this is."
        return f"{os.getpid()} {os.getppid()}"

    @tool
    async def home(self, session: dict[str, Any]) -> str:
        "Where its Python is."
        return sys.prefix

    @tool
    async def leave(self, session: dict[str, Any], code: int) -> str:
        "End the process."
        os._exit(code)

    @tool
    async def lose(self, session: dict[str, Any]) -> str:
        "Fail the rollout."
        raise RolloutError(FailureKind.PROVIDER_UNAVAILABLE, Stage.TOOL, "no sandbox", terminal=False)

    async def verify(self, task: TaskRow, trajectory: Trajectory, session: dict[str, Any]) -> float:
        return float(len(trajectory.text))


class Judged(ResourcesServer):
    """Right if the judge says yes."""

    judge_roles = ("judge",)

    async def verify(self, task: TaskRow, trajectory: Trajectory, session: dict[str, Any]) -> float:
        texts = await asyncio.gather(*(self.judge.ask(trajectory.text, {"seed": seed}) for seed in range(3)))
        return float(texts == ["yes"] * 3)


class Hangs(Own):
    """Never made, in any process but its author's."""

    def __init__(self, home: int) -> None:
        while os.getpid() != home:
            time.sleep(1)


class Leaves(Own):
    """Ends every process but its author's."""

    def __init__(self, home: int) -> None:
        if os.getpid() != home:
            os._exit(7)


class Wanting(Own):
    """Needs a package when it is made."""

    def __init__(self) -> None:
        import gym_ray_stranger

        Path(gym_ray_stranger.__file__).stat()
