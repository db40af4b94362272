"""What the page says about a whole run: one pass over its groups, in memory that does not grow with the run.

Every statistic is :mod:`gym_ray.runs.profile`'s. Beside it: rewards by value, the line of time, seconds by phase, and
why rollouts have no reward. The page draws these numbers and computes none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gym_ray.collect.output.metrics import Histogram
from gym_ray.collect.rundir import RunDir
from gym_ray.runs.profile import Thresholds, profile_groups
from gym_ray.runs.read import RunRecord, State
from gym_ray.runs.report.bins import Distribution, Timeline
from gym_ray.runs.report.unfinished import unfinished
from gym_ray.runs.rollouts import Group, StoredRollout
from gym_ray.types.outcome import Outcome

Json = dict[str, Any]
PHASES = ("seed", "model", "tools", "verify")
"""Phases of a rollout, in order; what is left of ``total`` is ``other``: waiting, and bookkeeping."""
REASONS, REASON_CHARS = 12, 400
"""Different reasons kept per kind of failure, and characters of each."""


@dataclass(slots=True)
class Reasons:
    """Why rollouts of one environment have no reward, for one kind at one stage."""

    count: int = 0
    texts: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str | None) -> None:
        """Count one; a reason beyond the first ``REASONS`` is counted only."""
        self.count += 1
        text = (reason or "")[:REASON_CHARS]
        if text in self.texts or len(self.texts) < REASONS:
            self.texts[text] += 1


@dataclass(slots=True)
class Totals:
    """What is gathered beside a profile. By environment: ``rewards`` of scored rollouts, ``seconds`` by phase."""

    rewards: dict[str, Distribution] = field(default_factory=dict)
    seconds: dict[str, dict[str, Histogram]] = field(default_factory=dict)
    reasons: dict[tuple[str, str, str, str], Reasons] = field(default_factory=dict)
    timeline: Timeline = field(default_factory=Timeline)

    def add(self, rollout: StoredRollout) -> None:
        """Count one rollout."""
        name, ours = rollout.environment, rollout.ours
        if rollout.outcome is Outcome.SCORED and rollout.reward is not None:
            self.rewards.setdefault(name, Distribution()).add(rollout.reward)
        if rollout.failure is not None:
            key = (name, str(rollout.outcome), rollout.failure, str(ours.get("failure_stage") or ""))
            self.reasons.setdefault(key, Reasons()).add(rollout.reason)
        timings = ours.get("timings") or {}
        phases = self.seconds.setdefault(name, {})
        for phase, seconds in _phases(timings):
            phases.setdefault(phase, Histogram()).add(seconds)
        started, finished = ours.get("started") or 0.0, ours.get("finished") or 0.0
        self.timeline.add(started, finished, rollout.completion_tokens)

    def summary(self) -> Json:
        """``{rewards, seconds, failures, timeline}``."""
        failures = [
            {
                **dict(zip(("environment", "outcome", "kind", "stage"), key, strict=True)),
                "count": its.count,
                "reasons": [{"reason": text, "count": count} for text, count in its.texts.most_common()],
            }
            for key, its in sorted(self.reasons.items(), key=lambda pair: (-pair[1].count, pair[0]))
        ]
        phases = {
            name: {phase: its[phase].summary() for phase in (*PHASES, "other", "total") if phase in its}
            for name, its in sorted(self.seconds.items())
        }
        rewards = {name: its.summary() for name, its in sorted(self.rewards.items())}
        return {"rewards": rewards, "seconds": phases, "failures": failures, "timeline": self.timeline.summary()}


def _phases(timings: dict[str, float]) -> Iterator[tuple[str, float]]:
    """Every phase of a rollout that says how long it took, 0.0 for those it did not have."""
    total = timings.get("total")
    if total is not None:
        known = [(phase, timings.get(phase, 0.0)) for phase in PHASES]
        yield from known
        yield "other", max(0.0, total - sum(seconds for _, seconds in known))
        yield "total", total


def overview(
    record: RunRecord,
    groups: Iterable[Group],
    thresholds: Thresholds | None = None,
    seen: Callable[[int], None] | None = None,
) -> Json:
    """A profile (``profile_run``) with ``rewards``, ``seconds``, ``failures``, ``timeline`` and ``about`` added.

    ``seen``: called after each group with the number of rollouts so far. Raises UserError as reading does.
    """
    totals, count = Totals(), 0

    def tapped() -> Iterator[Group]:
        nonlocal count
        for group in groups:
            yield group
            for rollout in group.rollouts:
                totals.add(rollout)
            count += len(group.rollouts)
            if seen is not None:
                seen(count)

    profile = profile_groups(record, tapped(), thresholds)
    if record.state is not State.COMPLETE:
        for its in unfinished(RunDir.open(record.address)):
            totals.timeline.add_unfinished(its.started, its.left)
    return {**profile, **totals.summary(), "about": about(record)}


def about(record: RunRecord) -> list[tuple[str, str]]:
    """What a reader wants to know of the configuration, as (name, text)."""
    model, collect = record.config.get("model") or {}, record.config.get("collect") or {}
    weights = (model.get("serve") or {}).get("path") or model.get("base_url")
    facts = {
        "model": model.get("name"),
        "endpoint": model.get("kind"),
        "weights or address": weights,
        "sampling": ", ".join(f"{name} {value}" for name, value in (model.get("params") or {}).items()),
        "rollouts per task": collect.get("rollouts_per_task"),
        "tasks": record.plan.get("tasks"),
        "task rows left out": record.plan.get("bad_rows"),
        "in flight at most": collect.get("in_flight"),
        "run directory": record.address,
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "", {})]
