"""From whatever a verifier returns or raises to a :class:`Reward`, or a typed reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Coroutine
from numbers import Real
from typing import Any

from gym_ray.resources.deadline import DeadlineExceeded, within
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, describe
from gym_ray.types.outcome import Reward


def reward_of(verdict: object) -> Reward:
    """``verdict`` as a Reward with a finite float value.

    Raises:
        MaskRollout: ``verifier_error``; it is neither a number nor a Reward, or not finite.
    """
    reward = verdict if isinstance(verdict, Reward) else Reward(_number(verdict))
    if type(reward.value) is not float:
        reward.value = _number(reward.value)
    if not math.isfinite(reward.value):
        raise MaskRollout(FailureKind.VERIFIER_ERROR, f"verify returned {reward.value}")
    for name, value in reward.components.items():
        if not math.isfinite(value):
            raise MaskRollout(FailureKind.VERIFIER_ERROR, f"reward component {name!r} is {value}")
    return reward


def rewards_of(verdicts: object, expected: int) -> list[Reward | MaskRollout]:
    """A group's verdicts, one per trajectory; a mask among them is for that one alone.

    Raises:
        MaskRollout: ``verifier_error``; a wrong count, or any verdict that :func:`reward_of` refuses.
    """
    if not isinstance(verdicts, list | tuple) or len(verdicts) != expected:
        found = f"{len(verdicts)} rewards" if isinstance(verdicts, list | tuple) else type(verdicts).__name__
        reason = f"verify_group returned {found} for {expected} trajectories"
        raise MaskRollout(FailureKind.VERIFIER_ERROR, reason)
    return [verdict if isinstance(verdict, MaskRollout) else reward_of(verdict) for verdict in verdicts]


async def judged(coroutine: Coroutine[Any, Any, Any], seconds: float | None) -> Any:
    """What the verifier returns.

    Raises:
        MaskRollout: its own, ``verifier_timeout`` at the deadline, or ``verifier_error`` with the last line
            of whatever else it raised.
        RolloutError: its own.
    """
    try:
        return await within(seconds, coroutine)
    except (MaskRollout, RolloutError):
        raise
    except DeadlineExceeded:
        raise MaskRollout(FailureKind.VERIFIER_TIMEOUT, f"verify did not end within {seconds:g} s") from None
    except (Exception, SystemExit) as error:
        raise MaskRollout(FailureKind.VERIFIER_ERROR, describe(error)) from error


def _number(verdict: object) -> float:
    if isinstance(verdict, Real):
        return float(verdict)
    try:
        return float(verdict.item())  # type: ignore[attr-defined]  # a zero-dimensional array
    except (AttributeError, TypeError, ValueError):
        reason = f"verify returned {type(verdict).__name__}, not a number or a Reward"
        raise MaskRollout(FailureKind.VERIFIER_ERROR, reason) from None
