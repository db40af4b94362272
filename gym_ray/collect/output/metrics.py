"""What a run amounts to, per environment: sums that merge in any order.

Every shard makes its own :class:`EnvironmentTotals`; ``metrics.json`` is their sum in words. Distributions
are histograms over logarithmic buckets 5 % wide, so quantiles are right to 5 % (exact where values repeat)
and merging is addition. Rewards count over scored rollouts only; masked and failed ones have none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gym_ray.types.outcome import Outcome
from gym_ray.types.rollout import Rollout
from gym_ray.types.tokens import TurnTokens

_GROWTH = math.log(1.05)
_ZEROS = -(10**9)


@dataclass(slots=True)
class Histogram:
    """Counts and sums by bucket: ``b`` holds values in ``[1.05**b, 1.05**(b+1))``, :data:`_ZEROS` those up to 0."""

    counts: Counter[int] = field(default_factory=Counter)
    sums: dict[int, float] = field(default_factory=dict)

    def add(self, value: float) -> None:
        """Count one value."""
        bucket = math.floor(math.log(value) / _GROWTH) if value > 0 else _ZEROS
        self.counts[bucket] += 1
        self.sums[bucket] = self.sums.get(bucket, 0.0) + value

    def merge(self, other: Histogram) -> None:
        """Add another's counts in place."""
        self.counts.update(other.counts)
        for bucket, total in other.sums.items():
            self.sums[bucket] = self.sums.get(bucket, 0.0) + total

    def quantile(self, share: float) -> float:
        """The value below which ``share`` of all lie: the mean of its bucket. 0.0 when there are none."""
        rank = share * self.counts.total()
        for bucket in sorted(self.counts):
            rank -= self.counts[bucket]
            if rank <= 0:
                return self.sums[bucket] / self.counts[bucket]
        return 0.0

    def summary(self) -> dict[str, float]:
        """``{mean, p50, p95}``."""
        mean = sum(self.sums.values()) / max(1, self.counts.total())
        return {"mean": mean, "p50": self.quantile(0.5), "p95": self.quantile(0.95)}


@dataclass(slots=True)
class EnvironmentTotals:
    """Sums over one environment's rollouts. ``seconds``: by phase. ``retried``: more than one attempt.

    ``policy_versions``: exact tokens that each version of the policy sampled.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failure_kinds: Counter[str] = field(default_factory=Counter)
    finish_reasons: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    policy_versions: Counter[int] = field(default_factory=Counter)
    retried: int = 0
    reward: float = 0.0
    reward_squared: float = 0.0
    reward_range: tuple[float, float] = (math.inf, -math.inf)
    turns: Histogram = field(default_factory=Histogram)
    sampled: Histogram = field(default_factory=Histogram)
    seconds: dict[str, Histogram] = field(default_factory=dict)

    def add(self, rollout: Rollout) -> None:
        """Count one rollout."""
        self.outcomes[str(rollout.outcome)] += 1
        self.retried += rollout.attempt > 0
        if rollout.failure is not None:
            self.failure_kinds[rollout.failure.kind] += 1
        if rollout.outcome is Outcome.SCORED and rollout.reward is not None:
            value = rollout.reward.value
            self.reward += value
            self.reward_squared += value * value
            self.reward_range = min(self.reward_range[0], value), max(self.reward_range[1], value)
        for phase, seconds in rollout.timings.items():
            self.seconds.setdefault(phase, Histogram()).add(seconds)
        if rollout.trajectory is not None:
            usage = rollout.trajectory.usage
            self.finish_reasons[str(rollout.trajectory.finish_reason)] += 1
            for name in ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"):
                self.tokens[name] += getattr(usage, name)
            for turn in rollout.trajectory.turns:
                self._add_versions(turn.tokens)
            self.turns.add(len(rollout.trajectory.turns))
            self.sampled.add(usage.completion_tokens)

    def _add_versions(self, tokens: TurnTokens | None) -> None:
        if tokens is None:
            return
        if isinstance(tokens.version, list):
            self.policy_versions.update(tokens.version)
        else:
            self.policy_versions[tokens.version] += len(tokens.sampled)

    def merge(self, other: EnvironmentTotals) -> None:
        """Add another's sums in place."""
        for name in ("outcomes", "failure_kinds", "finish_reasons", "tokens", "policy_versions"):
            getattr(self, name).update(getattr(other, name))
        self.retried += other.retried
        self.reward += other.reward
        self.reward_squared += other.reward_squared
        low, high = other.reward_range
        self.reward_range = min(self.reward_range[0], low), max(self.reward_range[1], high)
        self.turns.merge(other.turns)
        self.sampled.merge(other.sampled)
        for phase, histogram in other.seconds.items():
            self.seconds.setdefault(phase, Histogram()).merge(histogram)

    @property
    def rollouts(self) -> int:
        """Rollouts with any outcome."""
        return self.outcomes.total()

    def summary(self) -> dict[str, Any]:
        """This environment's part of ``metrics.json``. ``reward`` is null when nothing was scored."""
        return {
            **{str(outcome): self.outcomes[outcome] for outcome in Outcome},
            "reward": self._reward(),
            "failure_kinds": dict(self.failure_kinds.most_common()),
            "finish_reasons": dict(self.finish_reasons.most_common()),
            "retried": self.retried,
            "tokens": dict(self.tokens),
            "policy_versions": {str(version): count for version, count in sorted(self.policy_versions.items())},
            "turns": self.turns.summary(),
            "sampled_tokens": self.sampled.summary(),
            "seconds": {phase: histogram.summary() for phase, histogram in sorted(self.seconds.items())},
        }

    def _reward(self) -> dict[str, float] | None:
        count = self.outcomes[Outcome.SCORED]
        if not count:
            return None
        mean = self.reward / count
        spread = math.sqrt(max(0.0, self.reward_squared / count - mean * mean))
        return {"mean": mean, "std": spread, "min": self.reward_range[0], "max": self.reward_range[1]}


Totals = dict[str, EnvironmentTotals]
"""By environment."""


def totals_of(rollouts: Iterable[Rollout], totals: Totals) -> None:
    """Count rollouts into ``totals``."""
    for rollout in rollouts:
        totals.setdefault(rollout.environment, EnvironmentTotals()).add(rollout)


def merged(parts: Iterable[Totals]) -> Totals:
    """The sum of all."""
    whole: Totals = {}
    for part in parts:
        for name, its in part.items():
            whole.setdefault(name, EnvironmentTotals()).merge(its)
    return dict(sorted(whole.items()))
