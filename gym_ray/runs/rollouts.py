"""One rollout as a run has it, whichever file it is read from.

Invariant: Parquet, JSONL and journal say the same, and so give equal :class:`StoredRollout`; only what a reader
did not ask for is left empty. Nothing here opens a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from gym_ray.collect.journal.record import to_json
from gym_ray.collect.output.rows import failure_row, make_row
from gym_ray.types.items import TOKEN_FIELDS, Item, input_items
from gym_ray.types.outcome import Outcome
from gym_ray.types.rollout import Rollout
from gym_ray.types.tokens import Segment, TurnTokens, segments_of

Json = dict[str, Any]

TOKENS = ("token_ids", "loss_mask", "logprobs", "policy_version", "segment_lengths")
"""Parquet columns of the tokens."""
PROMPT = "responses_create_params"
COLUMNS = [
    *("task_number", "task_id", "rollout_index", "environment", "outcome", "reward", "failure_kind"),
    *("failure_reason", "num_turns", "finish_reason", "reward_components", "response", "extra", "usage"),
]
"""Parquet columns that every reader needs."""
_OWN = frozenset({PROMPT, "response", "reward", "reward_components", "mask_sample", "failure_kind", "failure_reason"})
_NO_LOGPROB = float("nan")


@dataclass(slots=True)
class StoredRollout:
    """One rollout.

    ``reward``: None when there is none. ``failure``, ``reason``: kind and text, None iff scored. ``turns``: model
    calls. ``usage``: token counts summed over turns (``prompt_tokens``, ``completion_tokens``, ``cached_tokens``,
    ``reasoning_tokens``), empty when it failed. ``input``, ``items``: Responses items, the prompt and what came
    after, without token ids. ``tools``: function specs, flat. ``fields``: the row's other keys, the environment's
    and the task's. ``ours``: the row's object ``gym_ray`` (``started``, ``timings``, ``segments``, ...).
    ``segments``: exact tokens, read on request only.
    """

    task_number: int
    task_id: str
    index: int
    environment: str
    outcome: Outcome
    reward: float | None = None
    failure: str | None = None
    reason: str | None = None
    turns: int = 0
    finish_reason: str = ""
    components: dict[str, float] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    input: list[Item] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    tools: list[Json] = field(default_factory=list)
    model: str = ""
    fields: Json = field(default_factory=dict)
    ours: Json = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)

    @property
    def key(self) -> tuple[int, int]:
        """What shards are sorted by."""
        return self.task_number, self.index

    @property
    def prompt_tokens(self) -> int:
        """Summed over turns; 0 when it failed."""
        return self.usage.get("prompt_tokens", 0)

    @property
    def completion_tokens(self) -> int:
        """Summed over turns; 0 when it failed."""
        return self.usage.get("completion_tokens", 0)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each segment; empty when the endpoint gave no ids."""
        return [segment["length"] for segment in self.ours.get("segments", ())]

    @property
    def versions(self) -> list[int]:
        """Policy versions that sampled it, sorted."""
        found: list[int] = self.ours.get("policy_versions", [])
        return found


@dataclass(slots=True)
class Group:
    """All rollouts of one task, with any outcome, by index. ``row``: the task as planned, on request only."""

    rollouts: list[StoredRollout]
    row: Json | None = None

    @property
    def task_number(self) -> int:
        """The task's number in the plan."""
        return self.rollouts[0].task_number

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.rollouts[0].task_id

    @property
    def environment(self) -> str:
        """The environment's name."""
        return self.rollouts[0].environment


def from_batch(batch: Any) -> Iterator[StoredRollout]:
    """The rows of a record batch with ``COLUMNS`` and, if wanted, ``PROMPT`` and ``TOKENS``.

    Column by column, which costs a fifth of row objects.
    """
    names = batch.schema.names
    held = [batch.column(name) for name in TOKENS] if TOKENS[0] in names else None
    prompts = batch.column(PROMPT).to_pylist() if PROMPT in names else None
    usage = batch.column("usage")
    counted = [kind.name for kind in usage.type]
    counts = zip(*(usage.field(name).to_pylist() for name in counted), strict=True)
    values = [batch.column(name).to_pylist() for name in COLUMNS[:-1]]
    for at, (row, numbers) in enumerate(zip(zip(*values, strict=True), counts, strict=True)):
        *facts, components, response, extra = row
        number, task_id, index, environment, outcome, reward, failure, reason, turns, finish_reason = facts
        said, fields = orjson.loads(response), orjson.loads(extra)
        ours = fields.pop("gym_ray")
        given = orjson.loads(prompts[at])["input"] if prompts else []
        segments = _cut([column[at] for column in held], ours) if held else []
        yield StoredRollout(
            number,
            task_id,
            index,
            environment,
            Outcome(outcome),
            reward,
            failure,
            reason,
            turns,
            finish_reason,
            components=dict(components),
            usage=dict(zip(counted, numbers, strict=True)),
            input=given,
            items=said["output"],
            tools=said["tools"],
            model=said["model"],
            fields=fields,
            ours=ours,
            segments=segments,
        )


def _cut(columns: list[Any], ours: Json) -> list[Segment]:
    """The segments of one row's token columns."""
    ids, mask, logprobs, versions, lengths = (column.values.to_numpy(False) for column in columns)
    ends = np.cumsum(lengths, dtype=np.int64)
    return [
        Segment(
            ids[end - size : end].tolist(),
            mask[end - size : end].tolist(),
            logprobs[end - size : end].tolist(),
            versions[end - size : end].tolist(),
            [(begin, stop) for begin, stop in its["spans"]],
        )
        for size, end, its in zip(lengths, ends, ours["segments"], strict=True)
    ]


def from_line(row: Json, tokens: bool = False) -> StoredRollout:
    """A row of ``rollouts/*.jsonl``. ``tokens``: with ``segments``, from the token triplets."""
    ours, response, usage = row["gym_ray"], row["response"], row["response"]["usage"]
    return StoredRollout(
        task_number=ours["task_number"],
        task_id=ours["task_id"],
        index=ours["rollout_index"],
        environment=ours["environment"],
        outcome=Outcome(ours["outcome"]),
        reward=ours["reward"],
        failure=row["failure_kind"],
        reason=row["failure_reason"],
        turns=ours["num_turns"],
        finish_reason=ours["finish_reason"],
        components=row.get("reward_components") or {},
        usage={
            "prompt_tokens": usage["input_tokens"],
            "completion_tokens": usage["output_tokens"],
            "cached_tokens": usage["input_tokens_details"]["cached_tokens"],
            "reasoning_tokens": usage["output_tokens_details"]["reasoning_tokens"],
        },
        input=row[PROMPT]["input"],
        items=[_bare(item) for item in response["output"]],
        tools=response["tools"],
        model=response["model"],
        fields={name: value for name, value in row.items() if name not in _OWN and name != "gym_ray"},
        ours=ours,
        segments=_rebuilt(row) if tokens else [],
    )


def _bare(item: Item) -> Item:
    """An item without its token triplet."""
    if TOKEN_FIELDS[1] not in item:
        return item
    return {name: value for name, value in item.items() if name not in TOKEN_FIELDS}


def _rebuilt(row: Json) -> list[Segment]:
    """Segments from the token triplets of a JSONL row."""
    sampled = [item for item in row["response"]["output"] if TOKEN_FIELDS[1] in item]
    versions = [version for segment in row["gym_ray"]["segments"] for version in segment["versions"]]
    turns = []
    for item, version in zip(sampled, versions, strict=True):
        prompt, ids, logprobs = (item[name] for name in TOKEN_FIELDS)
        exact = [_NO_LOGPROB if logprob is None else logprob for logprob in logprobs]
        turns.append(TurnTokens(prompt, ids, exact, version))
    return segments_of(turns)


def from_failure(row: Json) -> StoredRollout:
    """A row of ``failures/*.jsonl``: what is known of a rollout without a usable trajectory."""
    task = row["task"]
    params = task[PROMPT]
    return StoredRollout(
        task_number=row["_ng_task_index"],
        task_id=row["task_id"],
        index=row["_ng_rollout_index"],
        environment=row["environment"],
        outcome=Outcome.FAILED,
        failure=row["kind"],
        reason=row["reason"],
        input=input_items(params),
        items=row["items"],
        tools=params.get("tools") or [],
        fields={name: value for name, value in task.items() if name != PROMPT},
        ours={
            "failure_stage": row["stage"],
            **{name: row[name] for name in ("agent", "attempt", "started", "finished", "timings")},
        },
    )


def from_record(rollout: Rollout) -> StoredRollout:
    """A record of the journal, with ``segments``."""
    if rollout.outcome is Outcome.FAILED:
        return from_failure(orjson.loads(failure_row(rollout)))
    row = make_row(rollout)
    stored = from_line(orjson.loads(to_json(row.fields)))
    stored.segments = row.segments
    return stored
