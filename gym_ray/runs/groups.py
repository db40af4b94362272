"""A run's rollouts as a stream: one task's group after another, whatever the size of the run.

Shards keep groups whole and in the order of task numbers (``collect.output.shards``), and ``failures/part-N``
comes from the same records as ``rollouts/part-N``. So a merge of the two gives every rollout of a task at once,
and memory holds one batch of rows and one group. The planned task rows, in the same order, are merged in on
request. The order is checked while reading.

Parquet is read where a part has it (a third of the bytes), else JSONL; both say the same.
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import orjson
from pyarrow import ArrowException
from pyarrow import parquet as pq

from gym_ray.collect.journal.index import scan
from gym_ray.collect.output.shards import BATCH_ROWS, plan_shards, read_batches
from gym_ray.collect.rundir import FAILURES, MANIFEST, PLAN, ROLLOUTS, RunDir
from gym_ray.runs.rollouts import (
    COLUMNS,
    PROMPT,
    TOKENS,
    Group,
    StoredRollout,
    from_batch,
    from_failure,
    from_line,
    from_record,
)
from gym_ray.types.errors import UserError

_BATCH_ROWS = 256


def read_groups(address: str, *, prompts: bool = True, tokens: bool = False, tasks: bool = False) -> Iterator[Group]:
    """Every group of a run that has shards. ``prompts``, ``tokens``, ``tasks``: with ``input``, ``segments``, ``row``.

    Raises:
        UserError: no run there, no shards, a damaged one, or (for ``tasks``) no plan any more.
    """
    run = RunDir.open(address)
    names = parts(run) if run.exists(MANIFEST) else []
    if not names:
        raise UserError(
            f"{address} has no shards yet: go on with it (gym-ray collect ... run_dir={address}), or make them of "
            f"what there is: gym-ray runs recover {address}"
        )
    rows = _planned(run) if tasks else None
    last = -1
    for part in names:
        for number, its in groupby(read_part(run, part, prompts=prompts, tokens=tokens), _task_number):
            if number <= last:
                raise UserError(f"{address}: {part} is not in the order of its tasks: collect's own shards are")
            last = number
            yield Group(list(its), _row_of(rows, number, address))


def journaled_groups(run: RunDir) -> Iterator[Group]:
    """The same of a run in progress, from its journal as it is now: all that is final, with ``segments``.

    Memory: 33 bytes per rollout and one batch. Raises UserError when a record is damaged.
    """
    for plan in plan_shards(scan(run), BATCH_ROWS):
        rollouts = (from_record(rollout) for batch in read_batches(run, plan) for rollout in batch)
        for _, its in groupby(rollouts, _task_number):
            yield Group(list(its))


def _task_number(rollout: StoredRollout) -> int:
    return rollout.task_number


def parts(run: RunDir) -> list[str]:
    """Names of the run's parts, without suffix, in order."""
    names = [*run.names(ROLLOUTS), *run.names(FAILURES)]
    return sorted({name.partition(".")[0] for name in names if name.startswith("part-")})


def read_part(run: RunDir, part: str, *, prompts: bool = True, tokens: bool = False) -> Iterator[StoredRollout]:
    """One part's rollouts with any outcome, by task and index. Raises UserError when it is damaged."""
    table = f"{ROLLOUTS}/{part}.parquet"
    if run.exists(table):
        kept = _parquet(run, table, [*COLUMNS, *([PROMPT] if prompts else ()), *(TOKENS if tokens else ())])
    else:
        kept = (from_line(row, tokens) for row in _lines(run, f"{ROLLOUTS}/{part}.jsonl"))
    failed = map(from_failure, _lines(run, f"{FAILURES}/{part}.jsonl"))
    return heapq.merge(kept, failed, key=lambda rollout: rollout.key)


def _parquet(run: RunDir, path: str, columns: list[str]) -> Iterator[StoredRollout]:
    with run.filesystem.open_input_file(run.path(path)) as source:
        try:
            for batch in pq.ParquetFile(source).iter_batches(_BATCH_ROWS, columns=columns):
                yield from from_batch(batch)
        except (ArrowException, OSError) as error:
            raise UserError(f"{run.path(path)}: damaged: {' '.join(str(error).split())[:300]}") from error


def _lines(run: RunDir, path: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file, none when it is not there."""
    if not run.exists(path):
        return
    with run.filesystem.open_input_stream(run.path(path)) as source:
        for number, line in enumerate(io.BufferedReader(source, 1 << 20), 1):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise UserError(f"{run.path(path)}, line {number}: damaged: {error}") from error


def _planned(run: RunDir) -> Iterator[tuple[int, bytes]]:
    """(task number, row) of each planned task, by number."""
    names = run.names(PLAN, ".parquet")
    if not names:
        raise UserError(f"{run.address} has no {PLAN} any more: the task rows to export were in there")
    for name in names:
        with run.filesystem.open_input_file(run.path(f"{PLAN}/{name}")) as source:
            columns = ["task_number", "first_index", "row"]
            for batch in pq.ParquetFile(source).iter_batches(_BATCH_ROWS, columns=columns):
                for row in batch.to_pylist():
                    # Equal lines further down, and later rollouts of the same task, repeat its number.
                    if row["first_index"] == 0:
                        yield row["task_number"], row["row"]


def _row_of(rows: Iterable[tuple[int, bytes]] | None, number: int, address: str) -> dict[str, Any] | None:
    if rows is None:
        return None
    for planned, row in rows:
        if planned == number:
            task: dict[str, Any] = orjson.loads(row)
            return task
    raise UserError(f"{address}: its plan has no task {number}: {PLAN} is of another run")
