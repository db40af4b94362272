"""Gymnasium-style environments: ``reset`` and ``step`` instead of tools and ``verify``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.items import Item
from gym_ray.types.outcome import Reward
from gym_ray.types.trajectory import Trajectory


@dataclass(slots=True)
class StepResult:
    """What one action led to.

    ``observation``: text shown to the model as a user message; None shows nothing. ``tool_outputs``: call id
    -> text, answers to the action's function calls. ``terminated``: the episode reached its end;
    ``truncated``: it was cut. ``info``: JSON fields for the output row.
    """

    observation: str | None = None
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    tool_outputs: dict[str, str] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


class GymnasiumServer(ResourcesServer):
    """Base of step-wise environments. The trajectory's reward is the sum of its step rewards."""

    stepwise: bool = True
    """False: this instance is driven by tools and ``verify`` after all (an adapter learns it when it is made)."""

    async def reset(self, task: Any, session: Session) -> str | None:
        """First observation, appended to the task's input as a user message (None: nothing to add)."""
        return None

    async def step(self, task: Any, action: list[Item], session: Session) -> StepResult:
        """Apply the model's output items of one turn."""
        raise TypeError(f"{type(self).__name__} must define `async def step(self, task, action, session)`")

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward | float:
        """Sum of the step rewards; override to add a final one."""
        return Reward(float(sum(trajectory.step_rewards)))
