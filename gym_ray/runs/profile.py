"""What a run's data is worth, per environment: rewards, estimates of skill, and what to look at twice.

Every mean is over tasks, each task counting once with the mean of its scored rollouts; its interval is Student's
over those task means, because rollouts of one task are no independent observations. Masked, failed and missing
rollouts are counted beside and never folded in; a task without any scored rollout is in no mean and is counted as
``unscored_tasks``. Memory does not grow with the run: a group is measured, added and forgotten.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gym_ray.collect.output.metrics import Histogram
from gym_ray.collect.rundir import PLAN, RunDir
from gym_ray.runs.estimators import majority_at, pass_all, pass_at
from gym_ray.runs.groups import read_groups
from gym_ray.runs.measure import Measured, tool_errors
from gym_ray.runs.read import RunRecord, State, read_run
from gym_ray.runs.rollouts import Group, StoredRollout
from gym_ray.runs.statistics import Correlation, Estimate, Moments
from gym_ray.runs.suspicion import Suspicion
from gym_ray.types.items import function_calls
from gym_ray.types.outcome import Outcome
from gym_ray.types.trajectory import TRUNCATIONS

THRESHOLD = 1.0
"""Reward from which on a rollout is a success, unless told otherwise."""
DIFFICULTY = ("0", "<0.2", "<0.4", "<0.6", "<0.8", "<1", "1")
"""Bins of the histogram of tasks by pass rate; the ends are bins of their own."""
_CUTS = (0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Reward of a success. ``named``: by environment; ``default``: for all others."""

    default: float = THRESHOLD
    named: Mapping[str, float] = field(default_factory=dict)

    def of(self, environment: str) -> float:
        """The one that holds for an environment."""
        return self.named.get(environment, self.default)


@dataclass(slots=True)
class EnvironmentProfile:
    """One environment's sums. ``ks``: the k of pass@k, ascending. ``planned``: rollouts of the plan, if known."""

    threshold: float
    ks: Sequence[int]
    planned: int | None = None
    tasks: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failure_kinds: Counter[str] = field(default_factory=Counter)
    finish_reasons: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    means: dict[str, Moments] = field(default_factory=dict)
    components: dict[str, Moments] = field(default_factory=dict)
    short: Counter[int] = field(default_factory=Counter)
    difficulty: Counter[str] = field(default_factory=Counter)
    max_reward: float | None = None
    tokens: Histogram = field(default_factory=Histogram)
    turns: Histogram = field(default_factory=Histogram)
    calls: Histogram = field(default_factory=Histogram)
    length: Correlation = field(default_factory=Correlation)
    length_within: Correlation = field(default_factory=Correlation)
    suspicion: Suspicion = field(default_factory=Suspicion)

    def add(self, group: Measured) -> None:
        """Count one task."""
        self.tasks += 1
        for row in group.rows:
            self._add_rollout(row)
        if group.scored:
            self._add_rewards(group)
            self._add_skill(group)
            self._add_lengths(group)
            self.suspicion.add(group)
            self.counts["duplicates"] += group.duplicates()
        else:
            self.counts["unscored_tasks"] += 1

    def _add_rollout(self, row: StoredRollout) -> None:
        self.outcomes[row.outcome] += 1
        if row.failure is not None:
            self.failure_kinds[row.failure] += 1
        if row.outcome is not Outcome.FAILED:
            calls = len(function_calls(row.items))
            self.finish_reasons[row.finish_reason] += 1
            self.counts["truncated"] += row.finish_reason in TRUNCATIONS
            self.counts["tool_calls"] += calls
            self.counts["tool_errors"] += tool_errors(row.items) if calls else 0
            self.tokens.add(row.completion_tokens)
            self.turns.add(row.turns)
            self.calls.add(calls)

    def _mean(self, name: str, value: float) -> None:
        self.means.setdefault(name, Moments()).add(value)

    def _add_rewards(self, group: Measured) -> None:
        assert group.mean_reward is not None
        assert group.pass_rate is not None
        self._mean("reward", group.mean_reward)
        self._mean("success", group.pass_rate)
        self.max_reward = max(group.rewards + ([] if self.max_reward is None else [self.max_reward]))
        self.difficulty[_difficulty(group.pass_rate)] += 1
        self.counts["tasks_without_spread"] += len(set(group.rewards)) == 1
        for name, value in group.components().items():
            self.components.setdefault(name, Moments()).add(value)

    def _add_skill(self, group: Measured) -> None:
        n, c, votes = len(group.scored), sum(group.successes), group.votes()
        if votes is not None:
            self.counts["asked"] += n
            self.counts["unanswered"] += sum(answer is None for answer, _ in votes)
        for k in self.ks:
            self.short[k] += n < k
            self._mean(f"pass@{k}", pass_at(n, c, k))
            self._mean(f"pass^{k}", pass_all(n, c, k))
            if votes is not None:
                majority = majority_at(votes, k)
                self._mean(f"majority@{k}", majority or 0.0)
                self._mean(f"no_answer@{k}", float(majority is None))

    def _add_lengths(self, group: Measured) -> None:
        mean_tokens = sum(row.completion_tokens for row in group.scored) / len(group.scored)
        assert group.mean_reward is not None
        for row, reward in zip(group.scored, group.rewards, strict=True):
            self.length.add(row.completion_tokens, reward)
            self.length_within.add(row.completion_tokens - mean_tokens, reward - group.mean_reward)

    def summary(self) -> dict[str, Any]:
        """This environment's part of a profile, as JSON values; ``docs/profile.md`` says what each is."""
        seen = self.outcomes.total()
        asked = self.counts["asked"]
        return {
            "tasks": self.tasks,
            "unscored_tasks": self.counts["unscored_tasks"],
            **{outcome: self.outcomes[outcome] for outcome in ("scored", "masked", "failed")},
            "missing": None if self.planned is None else max(0, self.planned - seen),
            "threshold": self.threshold,
            "max_reward": self.max_reward,
            "reward": self._estimate("reward"),
            "success": self._estimate("success"),
            "components": {name: _json(its.estimate()) for name, its in sorted(self.components.items())},
            "k": [{"k": k, "short_tasks": self.short[k], **self._at(k)} for k in self.ks],
            "unanswered": self.counts["unanswered"] / asked if asked else None,
            "difficulty": {name: self.difficulty[name] for name in DIFFICULTY},
            "tasks_without_spread": self.counts["tasks_without_spread"],
            "sampled_tokens": self.tokens.summary(),
            "turns": self.turns.summary(),
            "tool_calls": self.calls.summary(),
            "tool_errors": self.counts["tool_errors"],
            "tool_error_rate": _share(self.counts["tool_errors"], self.counts["tool_calls"]),
            "truncated": _share(self.counts["truncated"], seen - self.outcomes["failed"]),
            "finish_reasons": dict(self.finish_reasons.most_common()),
            "failure_kinds": dict(self.failure_kinds.most_common()),
            "duplicates": self.counts["duplicates"],
            "reward_length_correlation": {"overall": self.length.value, "within_tasks": self.length_within.value},
            "suspected": self.suspicion.summary(),
        }

    def _estimate(self, name: str) -> dict[str, Any] | None:
        return _json(self.means[name].estimate()) if name in self.means else None

    def _at(self, k: int) -> dict[str, Any]:
        names = {"pass_at": "pass@", "pass_all": "pass^", "majority": "majority@", "no_answer": "no_answer@"}
        return {name: self._estimate(f"{prefix}{k}") for name, prefix in names.items()}


def profile_run(
    address: str,
    thresholds: Thresholds | None = None,
    ks: Sequence[int] = (),
    each: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """The profile of a run: ``{run, state, rollouts: {expected, found}, environments: {name: ...}, notes}``.

    ``ks``: the k of pass@k; by default powers of two up to the run's rollouts per task, and that itself. ``each``:
    called with one row per task (:meth:`Measured.profile_row`) on the way, with the planned task if it is still there.

    Raises:
        UserError: no run there, nothing in it yet, or a damaged shard.
    """
    tasks = each is not None and bool(RunDir(address).names(PLAN, ".parquet"))
    return profile_groups(read_run(address), read_groups(address, prompts=False, tasks=tasks), thresholds, ks, each)


def profile_groups(
    record: RunRecord,
    groups: Iterable[Group],
    thresholds: Thresholds | None = None,
    ks: Sequence[int] = (),
    each: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """:func:`profile_run` of these groups of a run, wherever they are read from."""
    thresholds, profiles = thresholds or Thresholds(), dict[str, EnvironmentProfile]()
    ks = sorted(set(ks)) or default_ks(record)
    plans: dict[str, Any] = record.plan.get("environments", {})
    for rollouts in groups:
        name = rollouts.environment
        plan = plans.get(name, {})
        group = Measured(rollouts, thresholds.of(name))
        its = profiles.setdefault(name, EnvironmentProfile(thresholds.of(name), ks, plan.get("rollouts")))
        its.add(group)
        if each is not None:
            each(group.profile_row(_per_task(plan)))
    environments = {name: its.summary() for name, its in sorted(profiles.items())}
    found = sum(its.outcomes.total() for its in profiles.values())
    return {
        "run": record.address,
        "state": str(record.state),
        "rollouts": {"expected": record.expected, "found": found},
        "environments": environments,
        "notes": [*_notes(record, found), *_threshold_notes(environments)],
    }


def default_ks(record: RunRecord) -> list[int]:
    """Powers of two up to the run's rollouts per task, and that number itself."""
    collect = record.config.get("collect") or {}
    most = int(record.plan.get("rollouts_per_task") or collect.get("rollouts_per_task") or 1)
    return sorted({*(1 << power for power in range(most.bit_length()) if 1 << power <= most), most})


def _per_task(plan: Mapping[str, Any]) -> int | None:
    """Rollouts that each task was to have; None when that is not the same for all."""
    each, rest = divmod(plan.get("rollouts", 0), plan.get("tasks") or 1)
    return each if each and not rest else None


def _notes(record: RunRecord, found: int) -> list[str]:
    missing = record.expected - found
    if record.state is State.COMPLETE and missing <= 0:
        return []
    left = f"{max(0, missing):,} of {record.expected:,} planned rollouts are missing"
    return [f"not all of the run is there (it is {record.state}), this is a profile of what is: {left}"]


def _threshold_notes(environments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"{name}: no reward reaches {its['threshold']:g}, the highest is {its['max_reward']:g}: nothing counts as a "
        f"success (--threshold {name}=REWARD says what does)"
        for name, its in environments.items()
        if its["max_reward"] is not None and 0 < its["max_reward"] < its["threshold"]
    ]


def _difficulty(pass_rate: float) -> str:
    if pass_rate in (0.0, 1.0):
        return DIFFICULTY[0 if pass_rate == 0.0 else -1]
    return DIFFICULTY[1 + bisect.bisect_right(_CUTS, pass_rate)]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _json(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else asdict(estimate)
