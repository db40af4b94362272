"""What an agent may ask of an environment, wherever that environment runs (in process, in an actor)."""

from __future__ import annotations

from typing import Any, Protocol

from gym_ray.resources.gymnasium import StepResult
from gym_ray.types.errors import MaskRollout
from gym_ray.types.items import Item
from gym_ray.types.outcome import Reward
from gym_ray.types.trajectory import Trajectory


class ResourcesSession(Protocol):
    """One rollout's seeded session.

    Every method may raise ``RolloutError``: ``session_lost`` (not terminal: the host died) above all.
    """

    observation: str | None
    """First observation of a gymnasium-style environment, else None."""

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> str:
        """Run one tool and return its text. A tool's own errors come back as text, not as exceptions."""
        ...

    async def step(self, action: list[Item]) -> StepResult:
        """Apply one action of a gymnasium-style environment."""
        ...

    async def verify(self, trajectory: Trajectory) -> Reward:
        """Grade. Raises ``MaskRollout`` when the verifier could not judge (its own exceptions too)."""
        ...

    async def close(self) -> None:
        """Release the session. Idempotent; never raises."""
        ...


class Resources(Protocol):
    """One environment, as the agent's process sees it."""

    tools: list[dict[str, Any]]
    """Responses-API tool definitions that the environment adds to each request."""
    gymnasium: bool
    """True when the environment is step-wise."""
    scores_groups: bool

    async def seed(self, task: dict[str, Any], rollout_id: str) -> ResourcesSession:
        """Open a session for one rollout of ``task`` (the row, as JSON)."""
        ...

    async def verify_group(self, task: dict[str, Any], trajectories: list[Trajectory]) -> list[Reward | MaskRollout]:
        """Grade a whole group, in order. Raises ``MaskRollout`` when none of it could be judged."""
        ...

    async def aclose(self) -> None:
        """Let go of the host."""
        ...
