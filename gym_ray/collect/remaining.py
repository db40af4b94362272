"""What a run still has to make: its plan less its journal.

The journal is read in a Ray task, so that the driver's memory does not grow with the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from gym_ray.collect.journal.frames import segment_of
from gym_ray.collect.journal.index import scan
from gym_ray.collect.rundir import JOURNAL, RunDir
from gym_ray.collect.tasks.plan import Plan


@dataclass(frozen=True, slots=True)
class Remaining:
    """``rollouts``: how many are missing. ``done``: reference to the sorted uint64 keys that are there (None:
    none is). ``dead_segments``: segments of earlier attempts at this run; their writers are gone."""

    rollouts: int
    done: Any
    dead_segments: frozenset[str]


def remaining(run: RunDir, plan: Plan) -> Remaining:
    """Compare plan and journal. Needs Ray only when there is a journal."""
    names = run.names(JOURNAL, ".seg")
    segments = frozenset(segment for name in names if (segment := segment_of(name)))
    if not segments:
        return Remaining(plan.rollouts, None, segments)
    count, done = ray.remote(num_cpus=0.1, num_returns=2)(_done_keys).remote(run)
    return Remaining(plan.rollouts - ray.get(count), done, segments)


def _done_keys(run: RunDir) -> tuple[int, np.ndarray[Any, np.dtype[np.uint64]]]:
    keys = np.ascontiguousarray(scan(run).done.keys)
    return len(keys), keys
