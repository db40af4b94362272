"""Groups that came to nothing: told apart by whether another try could help."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import orjson

from gym_ray.types.errors import FailureKind, Stage
from gym_ray.types.outcome import Failure, Outcome
from gym_ray.types.rollout import Rollout

AWAY = frozenset(
    {
        FailureKind.TRANSPORT_UNREACHABLE,
        FailureKind.TRANSPORT_PEER_DROP,
        FailureKind.TRANSPORT_TIMEOUT,
        FailureKind.TRANSPORT_LOCAL_RESOURCE,
        FailureKind.PROVIDER_UNAVAILABLE,
        FailureKind.PROVIDER_QUOTA_EXHAUSTED,
        FailureKind.MODEL_PAUSED,
        FailureKind.SESSION_LOST,
        FailureKind.CANCELLED,
    }
)
"""Failures that say something about servers, nothing about the prompt."""


def lost(rollouts: Sequence[Rollout]) -> str:
    """Why every rollout of the group is lost to servers that are away; ``""`` when one is not."""
    failures = [one.failure for one in rollouts if one.outcome is Outcome.FAILED and one.failure is not None]
    if len(failures) < len(rollouts) or any(failure.kind not in AWAY for failure in failures):
        return ""
    return f"{failures[0].stage}: {failures[0].kind}: {failures[0].reason}"


def bad_row(row: dict[str, Any], count: int, environment: str, reason: str) -> list[Rollout]:
    """Failed rollouts in place of a group whose row is no task: it costs this group, not the training."""
    raw, now = orjson.dumps(row), time.time()
    failure = Failure(FailureKind.BAD_TASK, Stage.TASK, reason[:2000])
    params = {key: value for key, value in row["responses_create_params"].items() if key != "input"}
    return [
        Rollout(-1, "", index, environment, "", raw, params, Outcome.FAILED, failure=failure, started=now, finished=now)
        for index in range(count)
    ]
