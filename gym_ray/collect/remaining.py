"""What a run still has to make: its plan less its journal.

The journal is read once, in a Ray task, so that the driver's memory does not grow with the run; its index goes to
Ray's object store, where every node maps one copy for all its workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from gym_ray.collect.journal.frames import INDEX_BITS, segment_of
from gym_ray.collect.journal.index import JournalIndex, scan
from gym_ray.collect.part import Part
from gym_ray.collect.rundir import JOURNAL, RunDir
from gym_ray.collect.tasks.plan import Plan, planned_rollouts


@dataclass(frozen=True, slots=True)
class SharedIndex:
    """An index in the object store. Calling it gives the index, in any process that Ray knows: its arrays are
    mapped, not copied."""

    reference: Any

    def __call__(self) -> JournalIndex:
        """The index."""
        index: JournalIndex = ray.get(self.reference)
        return index


@dataclass(frozen=True, slots=True)
class Remaining:
    """``planned``: rollouts of this part of the run. ``rollouts``: how many of them are missing. ``earlier``: what
    the journal has, of all parts (None: nothing)."""

    planned: int
    rollouts: int
    earlier: SharedIndex | None


def remaining(run: RunDir, plan: Plan, part: Part) -> Remaining:
    """Compare plan and journal. Needs Ray only when there is a journal."""
    planned = planned_rollouts(run, plan, part)
    if not any(segment_of(name) for name in run.names(JOURNAL, ".seg")):
        return Remaining(planned, planned, None)
    count, index = ray.remote(num_cpus=0.1, num_returns=2)(_read).remote(run, part)
    return Remaining(planned, planned - ray.get(count), SharedIndex(index))


def _read(run: RunDir, part: Part) -> tuple[int, JournalIndex]:
    index = scan(run)
    return int(part.has(index.done.keys >> np.uint64(INDEX_BITS)).sum()), index
