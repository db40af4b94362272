"""What travels from the service to the trainer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gym_ray.types.rollout import Rollout


@dataclass(frozen=True, slots=True)
class Handed:
    """A group on its way. ``records``: encoded rollouts by index; the rest: see ``client.Group``."""

    id: int
    cursor: int
    records: list[bytes]
    oldest: int
    newest: int
    age: int
    rerolls: int
    pass_rate: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """Counts of groups, now.

    ``submitted`` = ``delivered`` + ``failed`` + all of ``dropped`` + ``queued`` + ``rolling`` + ``ready`` + ``handed``
    (the last: handed over, not acknowledged). ``rerolled``: times that a stale group was made again. ``in_flight``:
    rollouts. ``version``: the policy's. ``draws``: tasks drawn so far, by environment.
    """

    submitted: int
    delivered: int
    failed: int
    dropped: dict[str, int]
    queued: int
    rolling: int
    ready: int
    handed: int
    rerolled: int
    in_flight: int
    version: int
    paused: bool
    draws: dict[str, int]

    @property
    def accounted(self) -> int:
        """The right-hand side of the equation above."""
        open_groups = self.queued + self.rolling + self.ready + self.handed
        return self.delivered + self.failed + sum(self.dropped.values()) + open_groups


def policy_versions(rollouts: Iterable[Rollout]) -> tuple[int, int] | None:
    """Oldest and newest policy version among all sampled tokens, None when there are no exact tokens."""
    versions: set[int] = set()
    for rollout in rollouts:
        for turn in rollout.trajectory.turns if rollout.trajectory is not None else ():
            if turn.tokens is not None:
                version = turn.tokens.version
                versions.update(version if isinstance(version, list) else (version,))
    return (min(versions), max(versions)) if versions else None
