"""How many replicas a model has, where it may have more or fewer.

Agents talk to replicas' own doors, past Serve, so Serve's count of requests says nothing. Each replica tells how many
calls it has (``Replica.record_autoscaling_stats``), and Serve asks :func:`by_calls` for the number that brings each
to ``model.serve.calls_per_replica``. More come at once; fewer only after ``model.serve.shrink_after_s``, because a
replica that leaves takes its prefix cache along.
"""

from __future__ import annotations

import math
from typing import Any

from gym_ray.models.config import ServeConfig

CALLS = "calls"
"""What replicas tell: model calls in flight, those that wait in the engine included."""
GROW_AFTER_S, LOOK_BACK_S, TELL_S = 5.0, 10.0, 2.0


def replica_options(settings: ServeConfig) -> dict[str, Any]:
    """``num_replicas``, or ``autoscaling_config``, in the words of ``serve.deployment``."""
    if settings.max_replicas is None or settings.max_replicas <= settings.num_replicas:
        return {"num_replicas": settings.num_replicas}
    from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

    scaling = AutoscalingConfig(
        min_replicas=settings.num_replicas,
        max_replicas=settings.max_replicas,
        target_ongoing_requests=settings.calls_per_replica,
        upscale_delay_s=GROW_AFTER_S,
        downscale_delay_s=settings.shrink_after_s,
        look_back_period_s=LOOK_BACK_S,
        metrics_interval_s=TELL_S,
        policy=AutoscalingPolicy(policy_function=f"{__name__}:{by_calls.__name__}"),
    )
    return {"autoscaling_config": scaling}


def by_calls(context: Any) -> tuple[int, dict[str, Any]]:
    """Serve's policy: the replicas that the calls in flight want. Bounds and delays are Serve's."""
    told = (context.aggregated_metrics or {}).get(CALLS) or {}
    if not told:
        return context.target_num_replicas, {}
    return max(1, math.ceil(sum(told.values()) / context.config.target_ongoing_requests)), {}
