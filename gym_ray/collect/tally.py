"""Running totals of a collection: what the progress display shows and the watchdog watches.

Each agent worker keeps one :class:`Tally` and reports copies of it; totals are sums over reports. These
are for people to look at while a run goes on. The truth about a run is its journal.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from gym_ray.types.outcome import Outcome
from gym_ray.types.rollout import Rollout

BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Upper bounds of the classes into which durations fall, in seconds; one more class is above them."""


@dataclass(slots=True)
class Times:
    """Durations of one phase. ``counts``: of each class; ``seconds``: their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def count(self, seconds: float) -> None:
        """Add one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def add(self, other: Times) -> None:
        """Accumulate in place."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.seconds += other.seconds


@dataclass(slots=True)
class EnvironmentTally:
    """Counts of one environment. ``reward``: sum over scored rollouts.

    ``kinds``: failed and masked rollouts by failure kind; ``phases``: durations by phase (``Rollout.timings``).
    """

    scored: int = 0
    masked: int = 0
    failed: int = 0
    reward: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    phases: dict[str, Times] = field(default_factory=dict)

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

    ``journal_lag_s``: age of the oldest finished rollout that its journal has not written yet, in s.
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
    journal_lag_s: float = 0.0
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
        if rollout.failure is not None:
            kind = str(rollout.failure.kind)
            counts.kinds[kind] = counts.kinds.get(kind, 0) + 1
        for phase, seconds in rollout.timings.items():
            times = counts.phases.get(phase)
            if times is None:
                times = counts.phases[phase] = Times()
            times.count(seconds)
        if rollout.trajectory is not None:
            usage = rollout.trajectory.usage
            self.prompt_tokens += usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens
            self.turns += len(rollout.trajectory.turns)

    def counts(self) -> Tally:
        """What stays when its worker has died: nothing is in the air any more, nor late."""
        return Tally(self.environments, self.prompt_tokens, self.completion_tokens, self.turns)

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
            for kind, many in counts.kinds.items():
                mine.kinds[kind] = mine.kinds.get(kind, 0) + many
            for phase, times in counts.phases.items():
                mine.phases.setdefault(phase, Times()).add(times)
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.turns += other.turns
        self.in_flight += other.in_flight
        self.waiting += other.waiting
        self.limit += other.limit
        self.lag_ms = max(self.lag_ms, other.lag_ms)
        self.journal_lag_s = max(self.journal_lag_s, other.journal_lag_s)
        self.oldest += other.oldest
