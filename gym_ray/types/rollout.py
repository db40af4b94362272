"""One finished rollout: what the journal keeps and every output row is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gym_ray.types.outcome import Failure, Outcome, Reward
from gym_ray.types.trajectory import Trajectory


@dataclass(slots=True)
class Rollout:
    """The record of one (task, rollout index).

    ``task_number``: dense number of the task in the run's plan. ``task``: the task row, raw JSON bytes.
    ``params``: the create parameters actually sent, without ``input``. ``trajectory``: None only when the
    rollout failed before its first model call. ``reward``: None unless scored (or masked after scoring).
    ``failure``: None iff scored. ``started`` / ``finished``: Unix seconds. ``timings``: seconds by phase
    (``seed``, ``model``, ``tools``, ``verify``, ``total``). ``attempt``: 0 for the first.
    """

    task_number: int
    task_id: str
    rollout_index: int
    environment: str
    agent: str
    task: bytes
    params: dict[str, Any]
    outcome: Outcome
    trajectory: Trajectory | None = None
    reward: Reward | None = None
    failure: Failure | None = None
    attempt: int = 0
    started: float = 0.0
    finished: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
