"""Which rollouts of a group are exported, and as what: filters, best of n, ranked pairs, splits.

Invariants: a rollout without a reward is in no pair, and two equal rewards are none; everything is a function of
the group and the settings alone, so the same export can be made again; a task is in exactly one split.
"""

from __future__ import annotations

import random
from collections import Counter
from hashlib import blake2b
from itertools import combinations
from typing import NamedTuple

from gym_ray.export.settings import ExportSettings
from gym_ray.export.where import parse_where
from gym_ray.runs.rollouts import Group, StoredRollout
from gym_ray.types.outcome import Outcome
from gym_ray.types.trajectory import TRUNCATIONS


class Pair(NamedTuple):
    """Two rollouts of one task, ``chosen`` with the higher reward."""

    chosen: StoredRollout
    rejected: StoredRollout

    @property
    def difference(self) -> float:
        """Of the rewards, above 0."""
        return (self.chosen.reward or 0.0) - (self.rejected.reward or 0.0)


def select(group: Group, settings: ExportSettings, dropped: Counter[str]) -> list[StoredRollout]:
    """The rollouts to export, by index. ``dropped`` counts the others by the first setting that refused them."""
    kept = []
    task = _task_refusal(group, settings)
    for rollout in group.rollouts:
        refusal = task or _refusal(rollout, settings)
        if refusal:
            dropped[refusal] += 1
        else:
            kept.append(rollout)
    if settings.best is not None and len(kept) > settings.best:
        dropped["best"] += len(kept) - settings.best
        kept = sorted(_by_reward(kept)[: settings.best], key=lambda rollout: rollout.index)
    return kept


def pass_rate(group: Group, pass_reward: float) -> float | None:
    """Share of the scored rollouts with at least ``pass_reward``; None when none was scored."""
    rewards = [rollout.reward for rollout in group.rollouts if rollout.outcome is Outcome.SCORED]
    return sum(reward is not None and reward >= pass_reward for reward in rewards) / len(rewards) if rewards else None


def length(rollout: StoredRollout) -> int:
    """Tokens of the longest segment, else prompt and completion tokens summed over turns."""
    return max(rollout.lengths) if rollout.lengths else sum(rollout.usage.get(name, 0) for name in _COUNTED)


_COUNTED = ("prompt_tokens", "completion_tokens")


def _task_refusal(group: Group, settings: ExportSettings) -> str:
    if settings.env and group.environment not in settings.env:
        return "env"
    if settings.where and not parse_where(settings.where)(group):
        return "where"
    rate = pass_rate(group, settings.pass_reward)
    return _outside(rate, settings.pass_rate_min, settings.pass_rate_max, "pass_rate")


def _refusal(rollout: StoredRollout, settings: ExportSettings) -> str:
    """Name of the first setting that refuses ``rollout``, or ``""``."""
    if rollout.outcome not in settings.outcome:
        return "outcome"
    if settings.finish and rollout.finish_reason not in settings.finish:
        return "finish"
    if not settings.truncated and rollout.finish_reason in TRUNCATIONS:
        return "truncated"
    reward = _outside(rollout.reward, settings.reward_min, settings.reward_max, "reward")
    return reward or _outside(length(rollout), settings.length_min, settings.length_max, "length")


def _outside(value: float | None, least: float | None, greatest: float | None, name: str) -> str:
    """Which of the two limits refuses ``value``. What is unknown is within no limit."""
    if least is not None and (value is None or value < least):
        return f"{name}_min"
    return f"{name}_max" if greatest is not None and (value is None or value > greatest) else ""


def ranked_pairs(group: Group, settings: ExportSettings) -> list[Pair]:
    """The pairs of one group."""
    rewarded = _by_reward([rollout for rollout in group.rollouts if rollout.reward is not None])
    if settings.pairs == "best_worst":
        pairs = [Pair(rewarded[0], rewarded[-1])] if len(rewarded) > 1 else []
    else:
        pairs = [Pair(*two) for two in combinations(rewarded, 2)]
    pairs = [pair for pair in pairs if pair.difference > 0 and pair.difference >= settings.margin]
    if settings.pairs == "matched":
        return sorted(pairs, key=_unlike)[: settings.pairs_per_task or 1]
    if settings.pairs == "random":
        draw = random.Random(f"{settings.seed}/{group.task_id}")
        return draw.sample(pairs, min(len(pairs), settings.pairs_per_task or 1))
    return sorted(pairs, key=lambda pair: -pair.difference)[: settings.pairs_per_task]


def _unlike(pair: Pair) -> float:
    """How many times longer the longer answer is, in sampled tokens."""
    short, long = sorted(max(1, one.completion_tokens) for one in pair)
    return long / short


def _by_reward(rollouts: list[StoredRollout]) -> list[StoredRollout]:
    """The highest first, the earlier one where equal; without a reward last."""
    return sorted(rollouts, key=lambda rollout: (rollout.reward is None, -(rollout.reward or 0.0), rollout.index))


def split_of(task_id: str, settings: ExportSettings) -> str:
    """``train``, ``validation`` or ``test``."""
    place = int.from_bytes(blake2b(task_id.encode(), digest_size=8).digest()) / 2**64
    if place < settings.test:
        return "test"
    return "validation" if place < settings.test + settings.validation else "train"
