"""What verifying a run again changed: its verdicts then and now, rollout by rollout.

The two runs have the same plan, so both are read once, side by side, and memory holds a group of each and the
largest changes. A rollout without a reward then or now is in no mean; it is counted by what it became.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from gym_ray.runs.groups import read_groups
from gym_ray.runs.rollouts import StoredRollout
from gym_ray.types.errors import UserError
from gym_ray.types.outcome import Outcome

LISTED = 1000
"""Changes of an environment that are listed, the largest first."""


@dataclass(slots=True)
class Verdicts:
    """One environment. ``moves``: rollouts by (outcome before, outcome now). ``rewards``: sums over those scored both
    times. ``components``: rollouts that got the same reward of other parts."""

    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    rewards: tuple[float, float] = (0.0, 0.0)
    up: int = 0
    down: int = 0
    components: int = 0
    missing: int = 0
    changes: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)

    def add(self, before: StoredRollout, now: StoredRollout | None) -> None:
        """Compare one rollout; ``now`` is None when it was not verified again."""
        if now is None:
            self.missing += 1
            return
        self.moves[str(before.outcome), str(now.outcome)] += 1
        difference = 0.0
        if before.outcome is now.outcome is Outcome.SCORED:
            difference = (now.reward or 0.0) - (before.reward or 0.0)
            self.rewards = self.rewards[0] + (before.reward or 0.0), self.rewards[1] + (now.reward or 0.0)
            self.up += difference > 0
            self.down += difference < 0
            self.components += difference == 0 and before.components != now.components
        if difference or before.outcome is not now.outcome or before.failure != now.failure:
            self._list(difference, before, now)

    def _list(self, difference: float, before: StoredRollout, now: StoredRollout) -> None:
        size = abs(difference) if difference else float("inf")
        change = {
            "task_id": before.task_id,
            "rollout_index": before.index,
            "before": _verdict(before),
            "now": _verdict(now),
        }
        # Of equal changes the earlier one is kept.
        entry = (size, -next(self._order), change)
        if len(self.changes) < LISTED:
            heapq.heappush(self.changes, entry)
        else:
            heapq.heappushpop(self.changes, entry)

    def summary(self) -> dict[str, Any]:
        """As JSON values; ``reward``: means over the rollouts that were scored both times, null without any."""
        both = self.moves["scored", "scored"]
        changed = sum(many for (before, now), many in self.moves.items() if before != now)
        return {
            "rollouts": self.moves.total() + self.missing,
            "scored_both_times": both,
            "reward": {"before": self.rewards[0] / both, "now": self.rewards[1] / both} if both else None,
            "up": self.up,
            "down": self.down,
            "other_components": self.components,
            "other_outcome": changed,
            "not_verified": self.missing,
            "outcomes": [{"before": a, "now": b, "rollouts": many} for (a, b), many in self.moves.most_common()],
            "changes": [change for *_, change in sorted(self.changes, key=lambda one: (-one[0], -one[1]))],
        }


def verdict_changes(before: str, now: str) -> dict[str, Any]:
    """``{before, now, environments: {name: ...}}`` of a run and of the same run verified again.

    Raises:
        UserError: one of them has no shards, or they are of different tasks.
    """
    found: dict[str, Verdicts] = {}
    later = read_groups(now, prompts=False)
    group = next(later, None)
    for earlier in read_groups(before, prompts=False):
        its = found.setdefault(earlier.environment, Verdicts())
        again: dict[int, StoredRollout] = {}
        if group is not None and group.task_number == earlier.task_number:
            if group.task_id != earlier.task_id:
                raise UserError(f"{now} is not {before} verified again: their tasks differ")
            again = {one.index: one for one in group.rollouts}
            group = next(later, None)
        for one in earlier.rollouts:
            its.add(one, again.get(one.index))
    return {"before": before, "now": now, "environments": {name: its.summary() for name, its in sorted(found.items())}}


def _verdict(one: StoredRollout) -> str | float:
    """The reward, or why there is none."""
    if one.outcome is Outcome.SCORED:
        return one.reward or 0.0
    return f"{one.outcome}: {one.failure}"
