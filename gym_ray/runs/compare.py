"""Two runs on the tasks that both have: did the second do better, and where.

Invariant: tasks are paired. Each common task gives one difference, second minus first, of the means of its own
scored rollouts; so tasks that are hard for both cancel out, and groups of unequal size compare. What cannot be
paired (a task of one run only, or without any scored rollout in one of the two) is counted, and in no number.
Memory holds two numbers per task of the first run, one per common task, and the flips.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from gym_ray.runs.groups import read_groups
from gym_ray.runs.measure import Measured
from gym_ray.runs.profile import Thresholds
from gym_ray.runs.read import State, read_run
from gym_ray.runs.statistics import Estimate, Moments, holm, sign_flip_p

SOLVED = 0.5
"""A task is solved when this share of its scored rollouts succeed, or more."""


@dataclass(frozen=True, slots=True)
class TaskScore:
    """One task in one run: means over its scored rollouts."""

    reward: float
    pass_rate: float


@dataclass(slots=True)
class Side:
    """One run's part of an environment. ``outcomes``: of all its rollouts. The means: over the paired tasks."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reward: Moments = field(default_factory=Moments)
    success: Moments = field(default_factory=Moments)

    def summary(self) -> dict[str, Any]:
        """``{scored, masked, failed, reward, success}``."""
        counts = {outcome: self.outcomes[outcome] for outcome in ("scored", "masked", "failed")}
        return {**counts, "reward": _json(self.reward.estimate()), "success": _json(self.success.estimate())}


def _differences() -> Moments:
    """Differences of what lies between 0 and 1."""
    return Moments(least=-1.0)


@dataclass(slots=True)
class Pairing:
    """One environment's pairs. ``only_a`` and ``only_b``: tasks of one run. ``unscored``: in both, not paired."""

    a: Side = field(default_factory=Side)
    b: Side = field(default_factory=Side)
    only_a: int = 0
    only_b: int = 0
    unscored: int = 0
    reward: Moments = field(default_factory=_differences)
    success: Moments = field(default_factory=_differences)
    differences: list[float] = field(default_factory=list)
    flips: list[dict[str, Any]] = field(default_factory=list)

    def add(self, task_id: str, first: TaskScore, second: TaskScore) -> None:
        """Pair one task."""
        for side, score in ((self.a, first), (self.b, second)):
            side.reward.add(score.reward)
            side.success.add(score.pass_rate)
        self.reward.add(second.reward - first.reward)
        self.success.add(second.pass_rate - first.pass_rate)
        self.differences.append(second.reward - first.reward)
        if (first.pass_rate >= SOLVED) != (second.pass_rate >= SOLVED):
            solved = "a" if first.pass_rate >= SOLVED else "b"
            rates = {"pass_rate_a": first.pass_rate, "pass_rate_b": second.pass_rate}
            self.flips.append({"task_id": task_id, "solved_in": solved, **rates})

    def summary(self, p_corrected: float | None, p: float | None) -> dict[str, Any]:
        """This environment's part of a comparison, as JSON values. Differences are second minus first."""
        self.flips.sort(key=lambda flip: (-abs(flip["pass_rate_b"] - flip["pass_rate_a"]), flip["task_id"]))
        return {
            "common_tasks": len(self.differences),
            "only_in_a": self.only_a,
            "only_in_b": self.only_b,
            "unscored_tasks": self.unscored,
            "a": self.a.summary(),
            "b": self.b.summary(),
            "reward_difference": _json(self.reward.estimate()),
            "success_difference": _json(self.success.estimate()),
            "p": p,
            "p_corrected": p_corrected,
            "solved_only_in_a": sum(flip["solved_in"] == "a" for flip in self.flips),
            "solved_only_in_b": sum(flip["solved_in"] == "b" for flip in self.flips),
            "flips": self.flips,
        }


def compare_runs(first: str, second: str, thresholds: Thresholds | None = None) -> dict[str, Any]:
    """``{a, b, environments: {name: ...}, notes}``; ``docs/profile.md`` says what each number is.

    ``p`` tests per environment that mean rewards are equal, by flipping the signs of the differences; Holm's
    correction over the environments makes ``p_corrected`` of it. Both are None where there is no pair.

    Raises:
        UserError: one of them is no run, has nothing in it yet, or a damaged shard.
    """
    thresholds, pairings, known = thresholds or Thresholds(), dict[str, Pairing](), _Known()
    for task in _tasks(first, thresholds):
        pairings.setdefault(task.group.environment, Pairing()).a.outcomes.update(row.outcome for row in task.rows)
        known[task.group.environment, task.group.task_id] = _score(task)
    for task in _tasks(second, thresholds):
        its = pairings.setdefault(task.group.environment, Pairing())
        its.b.outcomes.update(row.outcome for row in task.rows)
        _pair(its, task, known)
    for environment, _ in known:
        pairings[environment].only_a += 1
    return {
        "a": first,
        "b": second,
        "environments": _summaries(pairings),
        "notes": [*_notes(first, second), *_unpaired(pairings)],
    }


_Known = dict[tuple[str, str], TaskScore | None]
"""Tasks of the first run that the second has not had yet, by (environment, task id)."""


def _tasks(address: str, thresholds: Thresholds) -> Iterator[Measured]:
    for group in read_groups(address, prompts=False):
        yield Measured(group, thresholds.of(group.environment))


def _score(task: Measured) -> TaskScore | None:
    if task.mean_reward is None or task.pass_rate is None:
        return None
    return TaskScore(task.mean_reward, task.pass_rate)


def _pair(its: Pairing, task: Measured, known: _Known) -> None:
    key, score = (task.group.environment, task.group.task_id), _score(task)
    if key not in known:
        its.only_b += 1
        return
    first = known.pop(key)
    if first is None or score is None:
        its.unscored += 1
    else:
        its.add(task.group.task_id, first, score)


def _summaries(pairings: dict[str, Pairing]) -> dict[str, Any]:
    tested = {name: sign_flip_p(its.differences) for name, its in sorted(pairings.items()) if its.differences}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {name: its.summary(corrected.get(name), tested.get(name)) for name, its in sorted(pairings.items())}


def _notes(*addresses: str) -> Iterable[str]:
    for address in addresses:
        record = read_run(address)
        if record.state is not State.COMPLETE:
            yield f"{address} is {record.state}: only what is in its shards is compared"


def _unpaired(pairings: dict[str, Pairing]) -> Iterable[str]:
    for name, its in pairings.items():
        if not its.differences:
            yield f"{name}: no task has a scored rollout in both runs"


def _json(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else asdict(estimate)
