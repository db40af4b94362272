"""Metrics over verify answers, in the shape of NeMo Gym's ``/aggregate_metrics``.

``agent_metrics`` has ``<stat>/<metric>`` for ``reward`` and each further number of the answers, over all measured
rollouts; ``group_level_metrics`` the same per task; ``key_metrics`` the mean reward. Masked answers are counted
(``coverage/...``) and enter no statistic.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

Json = dict[str, Any]
STATS: dict[str, Callable[[list[float]], float]] = {
    "mean": statistics.fmean,
    "max": max,
    "min": min,
    "median": statistics.median,
    "std": lambda values: statistics.stdev(values) if len(values) > 1 else 0.0,
}
TASK = "_ng_task_index"


def aggregated(answers: list[Json]) -> Json:
    """The answer of ``/aggregate_metrics``."""
    measured = [one for one in answers if not one.get("mask_sample")]
    groups: dict[Any, list[Json]] = defaultdict(list)
    for one in measured:
        groups[one.get(TASK)].append(one)
    overall = _stats(measured)
    if len(measured) < len(answers):
        overall |= {
            "coverage/measured_rollouts": len(measured),
            "coverage/masked_rollouts": len(answers) - len(measured),
        }
    return {
        "group_level_metrics": [
            {TASK: task, "num_rollouts": len(group), **_stats(group)} for task, group in groups.items()
        ],
        "agent_metrics": overall,
        "key_metrics": {"mean/reward": overall["mean/reward"]} if measured else {},
    }


def _stats(answers: Iterable[Json]) -> Json:
    values: dict[str, list[float]] = defaultdict(list)
    for one in answers:
        for name, value in one.items():
            if isinstance(value, int | float) and not name.startswith("_ng_") and name != "mask_sample":
                values[name].append(float(value))
    return {f"{stat}/{name}": compute(found) for name, found in values.items() for stat, compute in STATS.items()}
