"""Shards: the journal's records, sorted by task and rollout index, as files for readers.

Invariants: a group is never split over two shards, and its rows follow each other; failed rollouts go to
``failures/``, all others to ``rollouts/``; ``part-00007`` of both and of every format come from the same
records. Writing a shard again gives the same files. Memory holds one batch of rows, whatever the shard.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_ray.collect.journal.frames import INDEX_BITS, open_file, read_payload
from gym_ray.collect.journal.index import JournalIndex
from gym_ray.collect.journal.record import decode
from gym_ray.collect.output.metrics import Totals, totals_of
from gym_ray.collect.output.rows import Row, failure_row, make_row, to_jsonl
from gym_ray.collect.output.shardfile import LineFile, Output, ParquetFile, ShardFile
from gym_ray.collect.rundir import FAILURES, ROLLOUTS, RunDir
from gym_ray.types.outcome import Outcome
from gym_ray.types.rollout import Rollout

SHARD_BYTES = 1 << 30
"""Journal bytes above which a shard ends early."""
BATCH_BYTES, BATCH_ROWS = 8 << 20, 2048
"""One batch, and one Parquet row group: whichever limit comes first."""


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What one shard is made of: records in key order. ``where``: ``index.WHERE_TYPE``, ``file`` into ``files``."""

    number: int
    files: list[str]
    where: NDArray[np.void]


@dataclass(slots=True)
class ShardResult:
    """What writing one shard made, and what is in it. ``error``: why it could not be written."""

    files: list[ShardFile] = field(default_factory=list)
    totals: Totals = field(default_factory=dict)
    error: str = ""


def plan_shards(index: JournalIndex, rows_per_shard: int) -> Iterator[ShardPlan]:
    """Cut the run's final records into shards of some ``rows_per_shard``, whole groups only."""
    where, tasks = index.done.where, index.done.keys >> np.uint64(INDEX_BITS)
    ends = np.cumsum(where["length"], dtype=np.uint64)
    begin = number = 0
    while begin < len(where):
        begun = int(ends[begin]) - int(where["length"][begin])
        full = int(np.searchsorted(ends, np.uint64(begun + SHARD_BYTES)))
        last = max(begin, min(begin + rows_per_shard, full) - 1)
        end = int(np.searchsorted(tasks, tasks[min(last, len(tasks) - 1)], "right"))
        yield _plan(number, index.files, where[begin:end])
        begin, number = end, number + 1


def _plan(number: int, files: list[str], where: NDArray[np.void]) -> ShardPlan:
    used, local = np.unique(where["file"], return_inverse=True)
    mine = where.copy()
    mine["file"] = local
    return ShardPlan(number, [files[file] for file in used], mine)


def write_shard(run: RunDir, plan: ShardPlan, formats: Sequence[str]) -> ShardResult:
    """Write one shard in ``formats`` (``jsonl``, ``parquet``).

    Raises:
        UserError: a file cannot be written, or a record is damaged.
    """
    totals: Totals = {}
    part = f"part-{plan.number:05d}"
    with _no_cycles(), contextlib.ExitStack() as stack:
        failures = LineFile(run, stack, f"{FAILURES}/{part}.jsonl", failure_row)
        outputs = [_FORMATS[name](run, stack, f"{ROLLOUTS}/{part}.{name}") for name in formats]
        for batch in read_batches(run, plan):
            totals_of(batch, totals)
            failures.write([rollout for rollout in batch if rollout.outcome is Outcome.FAILED])
            rows = [make_row(rollout) for rollout in batch if rollout.outcome is not Outcome.FAILED]
            for output in outputs:
                output.write(rows)
    made = [failures.made(), *(output.made() for output in outputs)]
    return ShardResult([file for file in made if file is not None], totals)


@contextlib.contextmanager
def _no_cycles() -> Iterator[None]:
    """Pause the cycle collector: rows make a million objects and no cycle, and it would walk them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


_FORMATS: dict[str, Callable[[RunDir, contextlib.ExitStack, str], Output[Row]]] = {
    "jsonl": partial(LineFile, render=to_jsonl),
    "parquet": ParquetFile,
}


def read_batches(run: RunDir, plan: ShardPlan) -> Iterator[list[Rollout]]:
    """The shard's rollouts in key order, a batch at a time."""
    begin = 0
    while begin < len(plan.where):
        ends = np.cumsum(plan.where["length"][begin : begin + BATCH_ROWS], dtype=np.uint64)
        count = max(1, int(np.searchsorted(ends, np.uint64(BATCH_BYTES), "right")))
        yield _read(run, plan.files, plan.where[begin : begin + count])
        begin += count


def _read(run: RunDir, files: list[str], where: NDArray[np.void]) -> list[Rollout]:
    """Rollouts in the order of ``where``, each file opened once."""
    rollouts: list[Any] = [None] * len(where)
    for file in np.unique(where["file"]):
        with open_file(run, files[file]) as content:
            for at in np.flatnonzero(where["file"] == file):
                rollouts[at] = decode(read_payload(content, int(where["offset"][at]), files[file]))
    return rollouts
