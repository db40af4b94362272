"""Environments of the benchmark, as a user would write them: one file, named by its path.

``Lookup``: two tool calls and an answer, no work in either. ``Chat``: so many turns, whatever is said.
``SlowVerifier``: an answer, and 5 ms of pure computation to judge it.
"""

from __future__ import annotations

import time
from typing import Any

from gym_ray.resources.gymnasium import GymnasiumServer, StepResult
from gym_ray.resources.server import ResourcesServer, Session, tool
from gym_ray.types.items import Item
from gym_ray.types.trajectory import Trajectory

VERIFY_S = 0.005
"""CPU seconds that the slow verifier computes."""


class Lookup(ResourcesServer):
    """Look up two keys, then answer A."""

    pure = True

    async def seed(self, task: Any) -> Session:
        """Nothing has been looked up."""
        return {"looked_up": 0}

    @tool
    async def lookup(self, session: Session, key: str) -> str:
        """Look up a key in the table."""
        session["looked_up"] += 1
        return f"the value of {key} is {session['looked_up']}"

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> float:
        """1.0 when both look-ups were made and the answer is A."""
        return float(session["looked_up"] == 2 and "\\boxed{A}" in trajectory.text)


class Chat(GymnasiumServer):
    """Ask again until the task's ``turns`` are done."""

    pure = True

    async def step(self, task: Any, action: list[Item], session: Session) -> StepResult:
        """Nothing depends on what was said."""
        turn = session["turn"] = session.get("turn", 0) + 1
        if turn == task.turns:
            return StepResult(reward=1.0, terminated=True)
        return StepResult(observation=f"That was turn {turn}. Go on, and add what you left out before.")


class SlowVerifier(ResourcesServer):
    """Answer A; the verdict takes 5 ms of computation, declared as such."""

    cpu_bound = True

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> float:
        """1.0 when the answer is A."""
        end = time.process_time() + VERIFY_S
        while time.process_time() < end:
            pass
        return float("\\boxed{A}" in trajectory.text)
