"""The board: one small Ray actor between the driver and its agent workers.

Workers pin their tallies to it about once a second and read back whether to stop; the driver reads the sum.
Losing it loses nothing but the display: rollouts never depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ray

from gym_ray.collect.tally import Tally


@dataclass(slots=True)
class Pinned:
    """The last report of one worker incarnation."""

    tally: Tally
    gone: bool = False


@dataclass(slots=True)
class _State:
    pinned: dict[str, dict[str, Pinned]] = field(default_factory=dict)
    stopping: bool = False


class Board:
    """See the module. Hosted by Ray; ``start_board`` makes one."""

    def __init__(self) -> None:
        self._state = _State()

    def report(self, worker: str, incarnation: str, tally: Tally) -> bool:
        """Pin ``tally`` (cumulative since the incarnation began); returns True when the worker shall stop.

        A new incarnation of a worker means that the older one is dead: its counts stay, what it had in
        flight does not.
        """
        incarnations = self._state.pinned.setdefault(worker, {})
        for name, pinned in incarnations.items():
            if name != incarnation and not pinned.gone:
                pinned.gone = True
                pinned.tally.in_flight = pinned.tally.waiting = pinned.tally.limit = 0
                pinned.tally.oldest = []
        incarnations[incarnation] = Pinned(tally)
        return self._state.stopping

    def stop(self) -> None:
        """Ask every worker to start nothing new."""
        self._state.stopping = True

    def read(self) -> Tally:
        """Sum over all incarnations; the oldest flights first."""
        total = Tally()
        for incarnations in self._state.pinned.values():
            for pinned in incarnations.values():
                total.add(pinned.tally)
        total.oldest.sort(key=lambda flight: -flight.age_s)
        return total


def start_board() -> Any:
    """A fresh board of this driver; ends with it."""
    return ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0)(Board).remote()
