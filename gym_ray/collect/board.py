"""The board: one small Ray actor between the driver and its agent workers.

Workers pin their tallies to it about once a second and read back whether to stop; the driver reads the sum.
Losing it loses nothing but the display: rollouts never depend on it.
"""

from __future__ import annotations

from heapq import nlargest
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gym_ray.collect.tally import Tally

SHOWN = 20
"""Oldest flights that a look gives: with a thousand workers, all that they tell of would be a megabyte."""


class Board:
    """See the module. Hosted by Ray; ``start_board`` makes one."""

    def __init__(self) -> None:
        self._pinned: dict[str, tuple[str, Tally]] = {}  # By worker: its incarnation, and what that told last.
        self._dead: set[str] = set()
        self._left = Tally()  # What dead incarnations had counted.
        self._stopping = False

    def report(self, worker: str, incarnation: str, tally: Tally) -> bool:
        """Pin ``tally`` (cumulative since the incarnation began); returns True when the worker shall stop.

        A new incarnation of a worker means that the older one is dead: its counts stay, what it had in
        flight does not.
        """
        if incarnation not in self._dead:
            before, last = self._pinned.get(worker, (incarnation, tally))
            if before != incarnation:
                self._dead.add(before)
                self._left.add(last.counts())
            self._pinned[worker] = incarnation, tally
        return self._stopping

    def stop(self) -> None:
        """Ask every worker to start nothing new."""
        self._stopping = True

    def read(self) -> Tally:
        """Sum over all incarnations; the ``SHOWN`` oldest flights, oldest first."""
        total = Tally()
        total.add(self._left)
        for _, tally in self._pinned.values():
            total.add(tally)
        total.oldest = nlargest(SHOWN, total.oldest, key=lambda flight: flight.age_s)
        return total


def start_board() -> Any:
    """A fresh board of this driver; ends with it. It lives on the driver's node, so that no other one's loss empties
    it."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 0, "scheduling_strategy": here}
    return ray.remote(**options)(Board).remote()
