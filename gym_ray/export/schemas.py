"""Arrow schemas of the Parquet formats."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_TEXT_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_FUNCTION = pa.struct([("name", pa.string()), ("arguments", pa.json_())])
_CALL = pa.struct([("id", pa.string()), ("type", pa.string()), ("function", _FUNCTION)])
_MESSAGE = pa.struct(
    [
        *_TEXT_MESSAGE,
        ("reasoning_content", pa.string()),
        ("tool_calls", pa.list_(_CALL)),
        ("tool_call_id", pa.string()),
    ]
)

SFT = pa.schema([("messages", pa.list_(_MESSAGE)), ("tools", pa.json_())])
"""``datasets`` 5 gives arguments and tools back as the objects they were; others see JSON text."""
VERL_SFT = pa.schema([("messages", pa.list_(_TEXT_MESSAGE))])
VERL_RL = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(_TEXT_MESSAGE)),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        (
            "extra_info",
            pa.struct([("index", pa.int64()), *((name, pa.string()) for name in ("split", "task_id", "task"))]),
        ),
    ]
)
TOKEN_ARRAYS = pa.schema(
    [
        ("task_id", pa.string()),
        ("task_number", pa.int64()),
        ("rollout_index", pa.int32()),
        ("segment", pa.int32()),
        ("environment", pa.string()),
        ("outcome", pa.string()),
        ("reward", pa.float64()),
        ("token_ids", pa.list_(pa.int32())),
        ("loss_mask", pa.list_(pa.int8())),
        ("logprobs", pa.list_(pa.float32())),
        ("policy_version", pa.list_(pa.int32())),
    ]
)


def to_table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of ``schema``; JSON columns are given as text, which Arrow takes by a cast only."""
    texts = pa.schema([(field.name, _as_text(field.type)) for field in schema])
    return pa.Table.from_pylist(rows, texts).cast(schema)


def _as_text(kind: pa.DataType) -> pa.DataType:
    if kind == pa.json_():
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([(part.name, _as_text(part.type)) for part in kind])
    return pa.list_(_as_text(kind.value_type)) if pa.types.is_list(kind) else kind
