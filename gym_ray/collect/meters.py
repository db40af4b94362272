"""What a running collection tells Prometheus, by way of Ray: totals of the board, once a second, from the driver.

Ray exports each name with ``ray_`` before it, and counters with ``_total`` behind it, on every node's metrics port.
The dashboard over them is ``cluster/grafana/gym_ray.json``. Nothing here is per rollout; tags are few and closed
(run, environment, outcome, kind, phase), never ids.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ray.util.metrics import Counter, Gauge

from gym_ray.collect.tally import BOUNDS, EnvironmentTally, Tally

EVERY_S = 1.0
COUNTERS = {
    "gym_ray_rollouts": ("Finished rollouts", ("environment", "outcome")),
    "gym_ray_failures": ("Rollouts failed or masked, by kind", ("environment", "kind")),
    "gym_ray_tokens": ("Tokens read (prompt) and sampled (completion)", ("kind",)),
    "gym_ray_turns": ("Model calls of finished rollouts", ()),
}
GAUGES = {
    "gym_ray_planned": ("Rollouts of the whole run", ()),
    "gym_ray_reward_sum": ("Sum of rewards of scored rollouts", ("environment",)),
    "gym_ray_in_flight": ("Rollouts in the air", ()),
    "gym_ray_waiting": ("Rollouts that wait for a place", ()),
    "gym_ray_call_limit": ("Model calls allowed at once", ()),
    "gym_ray_loop_lag_seconds": ("Worst stall of a worker's event loop", ()),
    "gym_ray_journal_lag_seconds": ("Age of the oldest finished rollout that is not written yet", ()),
    # A histogram, made by the workers: Ray's own takes one value per call.
    "gym_ray_phase_seconds_bucket": ("Rollouts whose phase took at most `le` seconds", ("environment", "phase", "le")),
    "gym_ray_phase_seconds_sum": ("Seconds in a phase, over finished rollouts", ("environment", "phase")),
    "gym_ray_phase_seconds_count": ("Rollouts that had a phase", ("environment", "phase")),
}
Series = tuple[str, tuple[str, ...]]
"""A metric and its tags' values, in the order of its table."""


class Meters:
    """The metrics of one run. ``update`` as often as one likes; it acts once a second."""

    def __init__(self, run: str, planned: int) -> None:
        make = [(Counter, COUNTERS), (Gauge, GAUGES)]
        self._run, self._planned = run, planned
        self._keys = {name: keys for _, table in make for name, (_, keys) in table.items()}
        self._metrics: dict[str, Any] = {
            name: kind(name, description=text, tag_keys=("run", *keys))
            for kind, table in make
            for name, (text, keys) in table.items()
        }
        self._counted: dict[Series, float] = {}
        self._due = 0.0

    def update(self, tally: Tally, *, last: bool = False) -> None:
        """Tell ``tally``, unless that was done less than a second ago (``last``: anyway)."""
        now = time.monotonic()
        if now < self._due and not last:
            return
        self._due = now + EVERY_S
        for series, value in self._values(tally):
            name, tags = series
            labels = {"run": self._run, **dict(zip(self._keys[name], tags, strict=True))}
            if name in GAUGES:
                self._metrics[name].set(value, tags=labels)
            elif (more := value - self._counted.get(series, 0.0)) > 0:
                self._counted[series] = value
                self._metrics[name].inc(more, tags=labels)

    def _values(self, tally: Tally) -> Iterator[tuple[Series, float]]:
        yield ("gym_ray_planned", ()), self._planned
        yield ("gym_ray_tokens", ("prompt",)), tally.prompt_tokens
        yield ("gym_ray_tokens", ("completion",)), tally.completion_tokens
        yield ("gym_ray_turns", ()), tally.turns
        yield ("gym_ray_in_flight", ()), tally.in_flight
        yield ("gym_ray_waiting", ()), tally.waiting
        yield ("gym_ray_call_limit", ()), tally.limit
        yield ("gym_ray_loop_lag_seconds", ()), tally.lag_ms / 1000
        yield ("gym_ray_journal_lag_seconds", ()), tally.journal_lag_s
        for name, counts in tally.environments.items():
            yield from _environment(name, counts)


def _environment(name: str, counts: EnvironmentTally) -> Iterator[tuple[Series, float]]:
    for outcome in ("scored", "masked", "failed"):
        yield ("gym_ray_rollouts", (name, outcome)), getattr(counts, outcome)
    yield ("gym_ray_reward_sum", (name,)), counts.reward
    for kind, many in counts.kinds.items():
        yield ("gym_ray_failures", (name, kind)), many
    for phase, times in counts.phases.items():
        total = 0
        for bound, many in zip((*BOUNDS, float("inf")), times.counts, strict=True):
            total += many
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield ("gym_ray_phase_seconds_bucket", (name, phase, le)), total
        yield ("gym_ray_phase_seconds_sum", (name, phase)), times.seconds
        yield ("gym_ray_phase_seconds_count", (name, phase)), total
