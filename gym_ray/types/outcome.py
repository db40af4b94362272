"""What became of a rollout: scored, masked or failed. A reward is never invented."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """scored: has a reward. masked: kept, not trained on, with a reason. failed: no usable trajectory."""

    SCORED = "scored"
    MASKED = "masked"
    FAILED = "failed"


@dataclass(slots=True)
class Reward:
    """A verifier's verdict.

    ``value``: the reward. ``components``: named parts; trainers require that they sum to ``value``.
    ``extra``: the environment's own JSON fields for the output row (``extracted_answer``, ...).
    A plain ``float`` returned from ``verify`` means ``Reward(value)``.
    """

    value: float
    components: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a rollout is masked or failed. ``kind``, ``stage``, ``reason``: see ``types.errors``."""

    kind: str
    stage: str
    reason: str
    terminal: bool = True
