"""Small environments for end-to-end tests. Each answers with what the scripted endpoint was told to say."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from gym_ray import ResourcesServer, Reward, TaskRow, Trajectory, tool
from gym_ray.types.errors import MaskRollout


class Sum(ResourcesServer):
    """Pure: right when the answer is the expected number."""

    pure = True

    class Task(TaskRow):
        expected: int

    async def verify(self, task: Task, trajectory: Trajectory, session: dict[str, Any]) -> Reward:
        return Reward(float(trajectory.text == str(task.expected)), extra={"answer": trajectory.text})


class Counter(ResourcesServer):
    """Stateful, in an actor: the model must bump the counter ``bumps`` times and then say the total."""

    class Task(TaskRow):
        bumps: int

    async def seed(self, task: Task) -> dict[str, Any]:
        return {"count": 0}

    @tool
    async def bump(self, session: dict[str, Any]) -> str:
        """Add one; returns the total."""
        session["count"] += 1
        return str(session["count"])

    async def verify(self, task: Task, trajectory: Trajectory, session: dict[str, Any]) -> float:
        return float(session["count"] == task.bumps and trajectory.text == str(task.bumps))


class Trouble(ResourcesServer):
    """Does what its row says: ``hang`` in a tool, ``raise`` in verify, or is fine."""

    tool_timeout_s = 0.5
    verify_timeout_s = 1.0

    class Task(TaskRow):
        trouble: str

    @tool
    async def hang(self, session: dict[str, Any]) -> str:
        """Never returns."""
        await asyncio.sleep(3600)
        return "never"

    async def verify(self, task: Task, trajectory: Trajectory, session: dict[str, Any]) -> float:
        if task.trouble == "raise":
            raise ValueError("cannot read this")
        if task.trouble == "slow":
            await asyncio.sleep(3600)
        return 1.0


class Heavy(ResourcesServer):
    """A verifier in worker processes, which its row may crash or spin."""

    cpu_bound = True
    verify_timeout_s = 2.0

    class Task(TaskRow):
        trouble: str

    async def verify(self, task: Task, trajectory: Trajectory, session: dict[str, Any]) -> float:
        if task.trouble == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        while task.trouble == "spin":
            pass
        deadline = time.process_time() + 0.005
        while time.process_time() < deadline:
            pass
        return 1.0


class Poison(ResourcesServer):
    """Kills the process that hosts it when its row says so (inline: the agent worker)."""

    pure = True

    class Task(TaskRow):
        deadly: bool

    async def verify(self, task: Task, trajectory: Trajectory, session: dict[str, Any]) -> float:
        if task.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return 1.0


class Longest(ResourcesServer):
    """A group verifier: the longest answers of the group win."""

    pure = True

    async def verify_group(
        self, task: TaskRow, trajectories: Sequence[Trajectory]
    ) -> list[Reward | float | MaskRollout]:
        longest = max(len(trajectory.text) for trajectory in trajectories)
        return [Reward(float(len(one.text) == longest), extra={"group": len(trajectories)}) for one in trajectories]


class PoisonousGroup(ResourcesServer):
    """A group verifier that kills the process that hosts it when its row says so (inline: the agent worker)."""

    pure = True

    class Task(TaskRow):
        deadly: bool

    async def verify_group(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Reward | float | MaskRollout]:
        if task.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return [1.0] * len(trajectories)
