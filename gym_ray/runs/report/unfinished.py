"""When rollouts began that have no record: they run, were interrupted, or were lost with their worker.

Read from the headers of the journal's starts and closes, which carry the time. Journals that say no times, and runs
without a journal, have none of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gym_ray.collect.journal.frames import INDEX_BITS, Kind, open_file, segment_of, walk
from gym_ray.collect.rundir import JOURNAL, RunDir


class Unfinished(NamedTuple):
    """``started``, ``left``: Unix seconds. ``left``: when its worker closed in peace; None: it did not."""

    started: float
    left: float | None


def unfinished(run: RunDir) -> Iterator[Unfinished]:
    """Every attempt that its worker gave up in peace, and each rollout without any record, once.

    An attempt that died with its worker and was made again is not among them: nobody noted its end.
    Raises UserError when the journal cannot be read.
    """
    segments = _segments(run)
    done = np.unique(np.concatenate([np.empty(0, np.uint64), *(_keys(its, Kind.ROLLOUT) for its in segments)]))
    open_: dict[int, float] = {}
    for its in segments:
        closes = its["reward"][its["kind"] == Kind.CLOSE]
        left = float(closes[-1]) if len(closes) and closes[-1] > 0 else None
        if len(closes) and left is None:
            continue
        for key, started in _starts(its, _keys(its, Kind.ROLLOUT) if len(closes) else done):
            if left is not None:
                yield Unfinished(started, left)
            else:
                open_[key] = min(started, open_.get(key, started))
    for started in open_.values():
        yield Unfinished(started, None)


def _segments(run: RunDir) -> list[NDArray[np.void]]:
    """Headers of each segment's frames."""
    found: dict[str, list[NDArray[np.void]]] = {}
    for name in run.names(JOURNAL, ".seg"):
        if segment := segment_of(name):
            with open_file(run, name) as content:
                found.setdefault(segment, []).append(walk(content)[0])
    return [np.concatenate(parts) for parts in found.values()]


def _keys(headers: NDArray[np.void], kind: Kind) -> NDArray[np.uint64]:
    its = headers[headers["kind"] == kind]
    keys: NDArray[np.uint64] = its["task"] << np.uint64(INDEX_BITS) | its["index"].astype(np.uint64)
    return keys


def _starts(headers: NDArray[np.void], ended: NDArray[np.uint64]) -> Iterator[tuple[int, float]]:
    """Key and time of each start with a time and without an end; of equal keys the first."""
    keys, times = _keys(headers, Kind.START), headers["reward"][headers["kind"] == Kind.START]
    chosen = (times > 0) & ~np.isin(keys, ended)
    keys, first = np.unique(keys[chosen], return_index=True)
    yield from zip(keys.tolist(), times[chosen][first].tolist(), strict=True)
