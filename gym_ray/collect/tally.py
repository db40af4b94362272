"""Running totals of a collection: what the progress display shows and the watchdog watches.

Each agent worker keeps one :class:`Tally` and reports copies of it; totals are sums over reports. These
are for people to look at while a run goes on. The truth about a run is its journal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gym_ray.types.outcome import Outcome
from gym_ray.types.rollout import Rollout


@dataclass(slots=True)
class EnvironmentTally:
    """Counts of one environment. ``reward``: sum over scored rollouts."""

    scored: int = 0
    masked: int = 0
    failed: int = 0
    reward: float = 0.0

    @property
    def finished(self) -> int:
        """Rollouts with a verdict of any kind."""
        return self.scored + self.masked + self.failed

    @property
    def mean_reward(self) -> float | None:
        """Mean over scored rollouts; None while there are none."""
        return self.reward / self.scored if self.scored else None


@dataclass(slots=True)
class Oldest:
    """One row of the in-flight table. ``age_s``: seconds in this stage."""

    rollout_id: str
    stage: str
    age_s: float
    worker: str


@dataclass(slots=True)
class Tally:
    """Totals of one worker, or of all. ``lag_ms``: worst event-loop stall since the last report, in ms.

    ``limit``: model calls allowed at once; ``oldest``: the rollouts longest in their stage.
    """

    environments: dict[str, EnvironmentTally] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    turns: int = 0
    in_flight: int = 0
    waiting: int = 0
    limit: int = 0
    lag_ms: float = 0.0
    oldest: list[Oldest] = field(default_factory=list)

    def count(self, rollout: Rollout) -> None:
        """Add one finished rollout."""
        counts = self.environments.setdefault(rollout.environment, EnvironmentTally())
        if rollout.outcome is Outcome.SCORED:
            counts.scored += 1
            counts.reward += rollout.reward.value if rollout.reward else 0.0
        elif rollout.outcome is Outcome.MASKED:
            counts.masked += 1
        else:
            counts.failed += 1
        if rollout.trajectory is not None:
            usage = rollout.trajectory.usage
            self.prompt_tokens += usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens
            self.turns += len(rollout.trajectory.turns)

    @property
    def finished(self) -> int:
        """Rollouts with a verdict, over all environments."""
        return sum(counts.finished for counts in self.environments.values())

    def add(self, other: Tally) -> None:
        """Accumulate another worker's totals in place."""
        for name, counts in other.environments.items():
            mine = self.environments.setdefault(name, EnvironmentTally())
            mine.scored += counts.scored
            mine.masked += counts.masked
            mine.failed += counts.failed
            mine.reward += counts.reward
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.turns += other.turns
        self.in_flight += other.in_flight
        self.waiting += other.waiting
        self.limit += other.limit
        self.lag_ms = max(self.lag_ms, other.lag_ms)
        self.oldest += other.oldest
