"""A finished run's rollouts, one task's group after another, whatever the size of the run.

Shards keep groups whole and in the order of task numbers (``collect.output.shards``), and ``failures/part-N``
comes from the same records as ``rollouts/part-N``. So a merge of the two gives every rollout of a task at once,
and memory holds one batch of rows and one group. The planned task rows, in the same order, are merged in on
request. The order is checked while reading.

Parquet shards are read when there are any (a third of the bytes), else JSONL; both say the same.
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import orjson
from pyarrow import parquet as pq

from gym_ray.collect.rundir import FAILURES, MANIFEST, PLAN, ROLLOUTS, RunDir
from gym_ray.types.errors import UserError
from gym_ray.types.items import TOKEN_FIELDS, Item, input_items
from gym_ray.types.outcome import Outcome
from gym_ray.types.tokens import Segment, TurnTokens, segments_of

_TOKENS = ("token_ids", "loss_mask", "logprobs", "policy_version", "segment_lengths")
_COLUMNS = ("task_id", "task_number", "rollout_index", "environment", "outcome", "reward", "finish_reason", "usage")
_TEXTS = ("responses_create_params", "response", "extra")
_BATCH_ROWS = 256
_NO_LOGPROB = float("nan")


@dataclass(slots=True)
class Attempt:
    """One rollout as its row says. ``reward``: None when there is none. ``input``, ``items``: Responses items.

    ``tools``: function specs, flat. ``usage``: ``prompt_tokens`` and ``completion_tokens``, summed over turns.
    ``lengths``: tokens of each segment, empty when the endpoint gave no ids. ``segments``: those themselves, read
    on request only. ``versions``: policy versions that sampled it.
    """

    task_number: int
    task_id: str
    index: int
    environment: str
    outcome: Outcome
    reward: float | None
    finish_reason: str
    input: list[Item]
    items: list[Item]
    tools: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, int] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    model: str = ""


@dataclass(slots=True)
class Group:
    """All rollouts of one task, by index. ``row``: the task as planned, None unless asked for."""

    task_number: int
    task_id: str
    environment: str
    attempts: list[Attempt]
    row: dict[str, Any] | None = None


def read_groups(address: str, *, tokens: bool = False, tasks: bool = False) -> Iterator[Group]:
    """Every group of a run. ``tokens``: with ``segments``. ``tasks``: with ``row``.

    Raises:
        UserError: no run there, no finished shards, or (for ``tasks``) no plan any more.
    """
    run = RunDir.open(address)
    parts = _parts(run)
    rows = _planned(run) if tasks else None
    last = -1
    for part, suffix in parts:
        for number, attempts in groupby(_attempts(run, part, suffix, tokens), lambda attempt: attempt.task_number):
            if number <= last:
                raise UserError(f"{address}: {part} is not in the order of its tasks: collect's own shards are")
            last, found = number, list(attempts)
            yield Group(number, found[0].task_id, found[0].environment, found, _row_of(rows, number, address))


def _parts(run: RunDir) -> list[tuple[str, str]]:
    """(name without suffix, suffix of its rollouts) of each part, in order."""
    manifest = run.read_json(MANIFEST)
    if manifest is None:
        raise UserError(f"{run.address} has no finished shards: give the command that made it again, it goes on")
    paths = [made["path"] for made in manifest["files"]]
    suffix = "parquet" if any(path.endswith(".parquet") for path in paths) else "jsonl"
    return [(name, suffix) for name in sorted({path.rpartition("/")[2].partition(".")[0] for path in paths})]


def _attempts(run: RunDir, part: str, suffix: str, tokens: bool) -> Iterator[Attempt]:
    """One part's rollouts and failures, by task and index."""
    path = f"{ROLLOUTS}/{part}.{suffix}"
    read = _parquet if suffix == "parquet" else _jsonl
    kept = read(run, path, tokens) if run.exists(path) else iter(())
    lost = f"{FAILURES}/{part}.jsonl"
    failed = map(_failed, _lines(run, lost)) if run.exists(lost) else iter(())
    return heapq.merge(kept, failed, key=lambda attempt: (attempt.task_number, attempt.index))


def _parquet(run: RunDir, path: str, tokens: bool) -> Iterator[Attempt]:
    columns = [*_COLUMNS, *_TEXTS, *(_TOKENS if tokens else ())]
    with run.filesystem.open_input_file(run.path(path)) as source:
        for batch in pq.ParquetFile(source).iter_batches(_BATCH_ROWS, columns=columns):
            held = {name: batch.column(name) for name in (_TOKENS if tokens else ())}
            for at, row in enumerate(batch.select([*_COLUMNS, *_TEXTS]).to_pylist()):
                segments = _cut({name: column[at] for name, column in held.items()}) if tokens else []
                params, response, extra = (orjson.loads(row[name]) for name in _TEXTS)
                yield _attempt(row, params, response, extra, segments)


def _cut(columns: dict[str, Any]) -> list[Segment]:
    """The segments of one row's token columns."""
    ids, mask, logprobs, versions, lengths = (columns[name].values.to_numpy(False) for name in _TOKENS)
    ends = np.cumsum(lengths, dtype=np.int64)
    return [
        Segment(*(flat[end - size : end].tolist() for flat in (ids, mask, logprobs, versions)))
        for size, end in zip(lengths, ends, strict=True)
    ]


def _jsonl(run: RunDir, path: str, tokens: bool) -> Iterator[Attempt]:
    for row in _lines(run, path):
        ours = row["gym_ray"]
        usage = row["response"]["usage"]
        counts = {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}
        facts = {**ours, "usage": counts}
        segments = _rebuilt(row) if tokens else []
        yield _attempt(facts, row["responses_create_params"], row["response"], row, segments)


def _rebuilt(row: dict[str, Any]) -> list[Segment]:
    """Segments from the token triplets of a JSONL row."""
    sampled = [item for item in row["response"]["output"] if TOKEN_FIELDS[1] in item]
    versions = [version for segment in row["gym_ray"]["segments"] for version in segment["versions"]]
    turns = []
    for item, version in zip(sampled, versions, strict=True):
        prompt, ids, logprobs = (item[name] for name in TOKEN_FIELDS)
        exact = [_NO_LOGPROB if logprob is None else logprob for logprob in logprobs]
        turns.append(TurnTokens(prompt, ids, exact, version))
    return segments_of(turns)


def _attempt(
    facts: dict[str, Any],
    params: dict[str, Any],
    response: dict[str, Any],
    extra: dict[str, Any],
    segments: list[Segment],
) -> Attempt:
    ours = extra["gym_ray"]
    return Attempt(
        facts["task_number"],
        facts["task_id"],
        facts["rollout_index"],
        facts["environment"],
        Outcome(facts["outcome"]),
        facts["reward"],
        facts["finish_reason"],
        list(params["input"]),
        response["output"],
        response["tools"],
        facts["usage"],
        [segment["length"] for segment in ours["segments"]],
        segments,
        ours["policy_versions"],
        response["model"],
    )


def _failed(row: dict[str, Any]) -> Attempt:
    """What is known of a rollout without a usable trajectory."""
    params = row["task"]["responses_create_params"]
    return Attempt(
        row["_ng_task_index"],
        row["task_id"],
        row["_ng_rollout_index"],
        row["environment"],
        Outcome.FAILED,
        None,
        "",
        input_items(params),
        row["items"],
        params.get("tools") or [],
    )


def _lines(run: RunDir, path: str) -> Iterator[dict[str, Any]]:
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


def _row_of(rows: Iterator[tuple[int, bytes]] | None, number: int, address: str) -> dict[str, Any] | None:
    if rows is None:
        return None
    for planned, row in rows:
        if planned == number:
            task: dict[str, Any] = orjson.loads(row)
            return task
    raise UserError(f"{address}: its plan has no task {number}: {PLAN} is of another run")
