"""Rollout rows as an Arrow table: typed columns for training, JSON text for the rest.

``token_ids``, ``loss_mask``, ``logprobs`` and ``policy_version`` have one entry per token, segments one after
the other (``segment_lengths``); where ``loss_mask`` is 0, ``logprobs`` is 0.0 and ``policy_version`` is -1.
``reward`` is null when there is none. ``messages`` is the conversation in chat form, null when an item has
no such form; multi-part content is JSON text. ``extra`` holds all other keys of the JSONL row, so that the
two formats say the same; the token triplets are the token columns plus ``extra.gym_ray.segments``.

Never a column ``task_name``: NeMo-RL's loaders add their own and refuse the file. Tables are built column
by column, lists as offsets and flat values: per row that is a fifth of what objects cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from gym_ray.collect.journal.record import to_json
from gym_ray.collect.output.rows import Json, Row
from gym_ray.models.chat import chat_messages
from gym_ray.types.errors import RolloutError
from gym_ray.types.outcome import Outcome
from gym_ray.types.rollout import Rollout
from gym_ray.types.tokens import Segment
from gym_ray.types.trajectory import Trajectory

_FUNCTION = pa.struct([("name", pa.string()), ("arguments", pa.string())])
_CALL = pa.struct([("id", pa.string()), ("type", pa.string()), ("function", _FUNCTION)])
_MESSAGE = pa.struct(
    [
        ("role", pa.string()),
        ("content", pa.string()),
        ("reasoning_content", pa.string()),
        ("tool_calls", pa.list_(_CALL)),
        ("tool_call_id", pa.string()),
        ("name", pa.string()),
    ]
)
_COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
ROLLOUT_SCHEMA = pa.schema(
    [
        ("task_id", pa.string()),
        ("task_number", pa.int64()),
        ("rollout_index", pa.int32()),
        ("environment", pa.string()),
        ("agent", pa.string()),
        ("outcome", pa.string()),
        ("reward", pa.float64()),
        ("reward_components", pa.map_(pa.string(), pa.float64())),
        ("mask_sample", pa.bool_()),
        ("failure_kind", pa.string()),
        ("failure_reason", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("loss_mask", pa.list_(pa.int8())),
        ("logprobs", pa.list_(pa.float32())),
        ("segment_lengths", pa.list_(pa.int32())),
        ("policy_version", pa.list_(pa.int32())),
        ("num_turns", pa.int32()),
        ("finish_reason", pa.string()),
        ("usage", pa.struct([(name, pa.int64()) for name in _COUNTS])),
        ("timings", pa.map_(pa.string(), pa.float64())),
        ("messages", pa.list_(_MESSAGE)),
        ("responses_create_params", pa.string()),
        ("response", pa.string()),
        ("extra", pa.string()),
    ]
)
"""The Parquet contract."""
_IN_COLUMNS = frozenset(
    {"responses_create_params", "response", "reward", "reward_components", "mask_sample"}
    | {"failure_kind", "failure_reason"}
)
"""Keys of the JSONL row that have columns of their own."""


def to_table(rows: Sequence[Row]) -> pa.Table:
    """The rows as a table, in the given order. Schema: ``ROLLOUT_SCHEMA``."""
    rollouts = [row.rollout for row in rows]
    tokens, texts = _tokens([row.segments for row in rows]), _texts([row.fields for row in rows])
    columns = {**_scalars(rollouts), **tokens, **texts, "messages": _messages(rollouts)}
    return pa.Table.from_arrays([columns[name] for name in ROLLOUT_SCHEMA.names], schema=ROLLOUT_SCHEMA)


def _column(name: str, values: Iterable[Any]) -> pa.Array:
    return pa.array(list(values), ROLLOUT_SCHEMA.field(name).type)


def _scalars(rollouts: Sequence[Rollout]) -> dict[str, pa.Array]:
    ends = [rollout.trajectory or Trajectory([]) for rollout in rollouts]
    usages = [end.usage for end in ends]
    counts = [pa.array([getattr(usage, name) for usage in usages], pa.int64()) for name in _COUNTS]
    take: dict[str, Callable[[Rollout], Any]] = {
        "task_id": lambda rollout: rollout.task_id,
        "task_number": lambda rollout: rollout.task_number,
        "rollout_index": lambda rollout: rollout.rollout_index,
        "environment": lambda rollout: rollout.environment,
        "agent": lambda rollout: rollout.agent,
        "outcome": lambda rollout: str(rollout.outcome),
        "reward": lambda rollout: rollout.reward.value if rollout.reward else None,
        "mask_sample": lambda rollout: rollout.outcome is not Outcome.SCORED,
        "failure_kind": lambda rollout: rollout.failure.kind if rollout.failure else None,
        "failure_reason": lambda rollout: rollout.failure.reason if rollout.failure else None,
    }
    columns = {name: _column(name, map(value, rollouts)) for name, value in take.items()}
    columns["num_turns"] = _column("num_turns", (len(end.turns) for end in ends))
    columns["finish_reason"] = _column("finish_reason", (str(end.finish_reason) for end in ends))
    columns["usage"] = pa.StructArray.from_arrays(counts, list(_COUNTS))
    columns["timings"] = _map(rollout.timings for rollout in rollouts)
    columns["reward_components"] = _map(rollout.reward.components if rollout.reward else {} for rollout in rollouts)
    return columns


def _map(rows: Iterable[dict[str, float]]) -> pa.Array:
    given = list(rows)
    keys = pa.array([key for row in given for key in row], pa.string())
    return pa.MapArray.from_arrays(_offsets(given), keys, pa.array([v for row in given for v in row.values()], "f8"))


def _tokens(segments: list[list[Segment]]) -> dict[str, pa.Array]:
    """The token columns: flat values of all rows, and one array of offsets for the four of them."""
    lengths = [sum(len(segment.token_ids) for segment in its) for its in segments]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int32))

    def flat(name: str, kind: str) -> pa.Array:
        values = [np.array(getattr(segment, name), kind) for its in segments for segment in its]
        return pa.ListArray.from_arrays(offsets, pa.array(np.concatenate([np.empty(0, kind), *values])))

    return {
        "token_ids": flat("token_ids", "i4"),
        "loss_mask": flat("loss_mask", "i1"),
        "logprobs": flat("logprobs", "f4"),
        "policy_version": flat("versions", "i4"),
        "segment_lengths": _column("segment_lengths", ([len(one.token_ids) for one in its] for its in segments)),
    }


def _texts(rows: list[Json]) -> dict[str, pa.Array]:
    """JSON columns. They come from UTF-8 bytes, which saves decoding and encoding again."""

    def text(values: Iterable[Any]) -> pa.Array:
        return pa.array([to_json(value) for value in values], pa.binary()).cast(pa.string())

    return {
        "responses_create_params": text(row["responses_create_params"] for row in rows),
        "response": text(row["response"] for row in rows),
        "extra": text({key: value for key, value in row.items() if key not in _IN_COLUMNS} for row in rows),
    }


def _messages(rollouts: Sequence[Rollout]) -> pa.Array:
    """The chat column, from flat arrays of message fields."""
    conversations = [_conversation(rollout) for rollout in rollouts]
    flat = [message for messages in conversations for message in messages or ()]
    contents = (message.get("content") for message in flat)
    fields = {
        "role": pa.array([message["role"] for message in flat], pa.string()),
        "content": pa.array([_text(content) for content in contents], pa.string()),
        "reasoning_content": pa.array([message.get("reasoning_content") for message in flat], pa.string()),
        "tool_calls": _tool_calls([message.get("tool_calls") or () for message in flat]),
        "tool_call_id": pa.array([message.get("tool_call_id") for message in flat], pa.string()),
        "name": pa.array([message.get("name") for message in flat], pa.string()),
    }
    values = pa.StructArray.from_arrays(list(fields.values()), fields=list(_MESSAGE))
    absent = pa.array([messages is None for messages in conversations], pa.bool_())
    return pa.ListArray.from_arrays(_offsets([messages or () for messages in conversations]), values, mask=absent)


def _tool_calls(calls: list[Sequence[dict[str, Any]]]) -> pa.Array:
    flat = [call for its in calls for call in its]
    functions = [call["function"] for call in flat]
    function = pa.StructArray.from_arrays(
        [
            pa.array([function["name"] for function in functions], pa.string()),
            pa.array([_text(function["arguments"]) for function in functions], pa.string()),
        ],
        fields=list(_FUNCTION),
    )
    ids, kinds = (pa.array([call.get(name) for call in flat], pa.string()) for name in ("id", "type"))
    return pa.ListArray.from_arrays(
        _offsets(calls), pa.StructArray.from_arrays([ids, kinds, function], fields=list(_CALL))
    )


def _conversation(rollout: Rollout) -> list[dict[str, Any]] | None:
    if rollout.trajectory is None:
        return []
    try:
        return chat_messages([*rollout.trajectory.input, *rollout.trajectory.items])
    except RolloutError:
        return None


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _offsets(lists: Iterable[Any]) -> pa.Array:
    lengths = np.fromiter((len(one) for one in lists), np.int64)
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
