"""A run's rollouts as a stream: group after group, whatever the run's size.

Shards hold their rollouts sorted by task and rollout index, no group in two shards, and ``part-00007`` under
``failures/`` has the failed rollouts of the same tasks as ``part-00007`` under ``rollouts/``. So merging the
two gives whole groups, and memory holds one batch of rows and one group. Parquet is read where a part has it,
JSONL else: the two say the same.
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import orjson
from pyarrow import ArrowException
from pyarrow import parquet as pq

from gym_ray.collect.rundir import FAILURES, ROLLOUTS, RunDir
from gym_ray.types.errors import UserError
from gym_ray.types.items import Item

BATCH_ROWS = 512
_COLUMNS = ["task_id", "task_number", "rollout_index", "environment", "outcome", "reward", "reward_components"]
_COLUMNS += ["failure_kind", "num_turns", "finish_reason", "usage", "response", "extra"]


@dataclass(slots=True)
class StoredRollout:
    """One rollout as the shards have it.

    ``outcome``: ``scored``, ``masked`` or ``failed``. ``reward``: None unless there is one. ``failure``: its kind,
    None iff scored. ``items``: what came after the prompt (``Trajectory.items``). ``fields``: the row's other
    top-level fields, the environment's and the task's. Token counts are sums over turns; 0 where it failed.
    """

    environment: str
    task_id: str
    task_number: int
    index: int
    outcome: str
    reward: float | None = None
    components: dict[str, float] = field(default_factory=dict)
    failure: str | None = None
    turns: int = 0
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    items: list[Item] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, int]:
        """What shards are sorted by."""
        return self.task_number, self.index


def has_shards(run: RunDir) -> bool:
    """Whether there is anything to stream."""
    return bool(_parts(run))


def stream_groups(run: RunDir) -> Iterator[list[StoredRollout]]:
    """Every task's rollouts with any outcome, tasks and rollouts in order.

    Raises:
        UserError: a shard is damaged.
    """
    for part in _parts(run):
        rows = heapq.merge(_kept(run, part), _failed(run, part), key=lambda row: row.key)
        for _, group in groupby(rows, key=lambda row: row.task_number):
            yield list(group)


def _parts(run: RunDir) -> list[str]:
    names = [*run.names(ROLLOUTS), *run.names(FAILURES)]
    return sorted({name.partition(".")[0] for name in names if name.startswith("part-")})


def _kept(run: RunDir, part: str) -> Iterator[StoredRollout]:
    path = f"{ROLLOUTS}/{part}.parquet"
    if run.exists(path):
        yield from _parquet(run, path)
    else:
        yield from map(_from_line, _lines(run, f"{ROLLOUTS}/{part}.jsonl"))


def _failed(run: RunDir, part: str) -> Iterator[StoredRollout]:
    for row in _lines(run, f"{FAILURES}/{part}.jsonl"):
        yield StoredRollout(
            environment=row["environment"],
            task_id=row["task_id"],
            task_number=row["_ng_task_index"],
            index=row["_ng_rollout_index"],
            outcome="failed",
            failure=row["kind"],
            items=row["items"],
            fields=row["task"],
        )


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


def _from_line(row: dict[str, Any]) -> StoredRollout:
    ours, response = row.pop("gym_ray"), row.pop("response")
    return StoredRollout(
        environment=ours["environment"],
        task_id=ours["task_id"],
        task_number=ours["task_number"],
        index=ours["rollout_index"],
        outcome=ours["outcome"],
        reward=ours["reward"],
        components=row.get("reward_components") or {},
        failure=row["failure_kind"],
        turns=ours["num_turns"],
        finish_reason=ours["finish_reason"],
        prompt_tokens=response["usage"]["input_tokens"],
        completion_tokens=response["usage"]["output_tokens"],
        items=response["output"],
        fields=row,
    )


def _parquet(run: RunDir, path: str) -> Iterator[StoredRollout]:
    with run.filesystem.open_input_file(run.path(path)) as source:
        try:
            for batch in pq.ParquetFile(source).iter_batches(BATCH_ROWS, columns=_COLUMNS):
                yield from _rows(batch)
        except (ArrowException, OSError) as error:
            raise UserError(f"{run.path(path)}: damaged: {' '.join(str(error).split())[:300]}") from error


def _rows(batch: Any) -> Iterator[StoredRollout]:
    """The rows of a record batch: flat columns one by one, which costs a fifth of row objects."""
    column = {name: batch.column(name) for name in _COLUMNS}
    usage = column.pop("usage")
    prompt, completion = (usage.field(name).to_pylist() for name in ("prompt_tokens", "completion_tokens"))
    values = [one.to_pylist() for one in column.values()]
    for sent, sampled, row in zip(prompt, completion, zip(*values, strict=True), strict=True):
        *scalars, components, failure, turns, reason, response, extra = row
        environment_first = (scalars[3], scalars[0], scalars[1], scalars[2], scalars[4], scalars[5])
        items = orjson.loads(response)["output"]
        yield StoredRollout(
            *environment_first, dict(components), failure, turns, reason, sent, sampled, items, orjson.loads(extra)
        )
