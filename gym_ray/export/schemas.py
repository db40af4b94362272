"""Arrow schemas of the Parquet formats."""

from __future__ import annotations

import pyarrow as pa

_TEXT_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_FUNCTION = pa.struct([("name", pa.string()), ("arguments", pa.string())])
_CALL = pa.struct([("id", pa.string()), ("type", pa.string()), ("function", _FUNCTION)])
_MESSAGE = pa.struct(
    [
        *_TEXT_MESSAGE,
        ("reasoning_content", pa.string()),
        ("tool_calls", pa.list_(_CALL)),
        ("tool_call_id", pa.string()),
    ]
)

SFT = pa.schema([("messages", pa.list_(_MESSAGE)), ("tools", pa.string())])
"""``tools`` is JSON text."""
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
