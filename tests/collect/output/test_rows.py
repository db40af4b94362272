"""Rows in both formats, read back the way other people's programs read them."""

from __future__ import annotations

import io
import math
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from pyarrow import parquet as pq

from gym_ray.collect.journal.record import decode, encode
from gym_ray.collect.output.rows import failure_row, make_row, to_jsonl
from gym_ray.collect.output.table import ROLLOUT_SCHEMA, to_table
from gym_ray.types.items import assistant_message, user_message
from gym_ray.types.outcome import Failure, Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage
from tests.support.rollouts import make_rollout, message_log, rollouts, two_turns


def row_of(rollout: Rollout) -> dict[str, Any]:
    line = to_jsonl(make_row(rollout))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    row: dict[str, Any] = orjson.loads(line)
    return row


def parquet_rows(*given: Rollout) -> list[dict[str, Any]]:
    """Through a real Parquet file."""
    file = io.BytesIO()
    pq.write_table(to_table([make_row(rollout) for rollout in given]), file)
    table = pq.read_table(file)
    assert table.schema.equals(ROLLOUT_SCHEMA)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_the_row_a_nemo_gym_reader_expects() -> None:
    row = row_of(make_rollout(7, 3))
    assert row["responses_create_params"] == {
        "temperature": 0.5,
        "tools": [{"type": "function", "name": "add", "parameters": {}}],
        "input": [user_message("2+2?")],
    }
    response = row["response"]
    assert response["object"] == "response"
    assert response["status"] == "completed"
    assert [item["type"] for item in response["output"]] == [
        *("reasoning", "function_call", "function_call_output", "message")
    ]
    assert response["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12,
    }
    assert row["reward"] == 1.0
    assert row["reward_components"] == {"right": 1.0}
    assert (row["_ng_task_index"], row["_ng_rollout_index"]) == (7, 3)
    assert row["agent_ref"] == {"name": "tool_loop"}
    assert row["task_source"] == "adder"
    assert row["mask_sample"] is row["instance_config"]["mask_sample"] is False
    assert row["failure_kind"] is row["failure_reason"] is None
    assert row["extracted_answer"] == row["expected_answer"] == "4"
    assert row["gym_ray"]["segments"] == [{"length": 7, "spans": [[3, 5], [6, 7]], "versions": [3, 4]}]
    assert row["gym_ray"]["policy_versions"] == [3, 4]
    assert row["gym_ray"]["sampling"] == {"temperature": 0.5}


def test_nemo_rl_finds_one_contiguous_chain() -> None:
    assert message_log(row_of(make_rollout())) == [
        {"role": "user", "token_ids": [1, 2, 3]},
        {"role": "assistant", "token_ids": [4, 5], "logprobs": [-0.5, -0.25]},
        {"role": "user", "token_ids": [6]},
        {"role": "assistant", "token_ids": [7], "logprobs": [-0.125]},
    ]


def test_rewritten_history_is_told_and_not_hidden() -> None:
    row = row_of(make_rollout(trajectory=two_turns(rewritten=True)))
    assert row["gym_ray"]["segments"] == [
        {"length": 5, "spans": [[3, 5]], "versions": [3]},
        {"length": 4, "spans": [[3, 4]], "versions": [4]},
    ]
    with pytest.raises(AssertionError, match="Non-contiguous"):
        message_log(row)


def test_the_rows_own_names_win_over_ours() -> None:
    task = {
        "responses_create_params": {"input": "2+2?"},
        "_ng_task_index": 41,
        "agent_ref": {"type": "responses_api_agents", "name": "theirs"},
        "task_source": "their_set",
        "instance_config": {"image": "x"},
        "reward": 77,
        "reward_components": {"old": 1.0},
    }
    row = row_of(make_rollout(2, 1, task=orjson.dumps(task), reward=Reward(0, extra={"reward": 5, "note": "n"})))
    assert row["_ng_task_index"] == 41
    assert row["agent_ref"] == task["agent_ref"]
    assert row["task_source"] == "their_set"
    assert row["instance_config"] == {"image": "x", "mask_sample": False}
    assert isinstance(row["reward"], float)
    assert row["reward"] == 0.0
    assert row["note"] == "n"
    assert "reward_components" not in row
    assert row["gym_ray"]["task_number"] == 2


def test_a_masked_row_has_a_number_for_readers_and_the_truth_for_us() -> None:
    row = row_of(make_rollout(outcome=Outcome.MASKED))
    assert row["reward"] == 0.0
    assert row["gym_ray"]["reward"] is None
    assert row["mask_sample"] is row["instance_config"]["mask_sample"] is True
    assert (row["failure_kind"], row["failure_reason"]) == ("judge_failed", "no verdict")
    truncated = row_of(make_rollout(outcome=Outcome.MASKED, reward=Reward(0.75)))
    assert truncated["reward"] == truncated["gym_ray"]["reward"] == 0.75


def test_a_cut_answer_is_an_incomplete_response() -> None:
    trajectory = two_turns()
    trajectory.finish_reason = FinishReason.LENGTH
    response = row_of(make_rollout(trajectory=trajectory))["response"]
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}


def test_an_endpoint_without_ids_gives_rows_without_triplets() -> None:
    turn = Turn(0, FinishReason.STOP, Usage(3, 4))
    rollout = make_rollout(trajectory=Trajectory([user_message("q")], [assistant_message("a")], [turn]))
    assert row_of(rollout)["response"]["output"] == [assistant_message("a")]
    (row,) = parquet_rows(rollout)
    assert row["token_ids"] == row["segment_lengths"] == []


def test_a_failed_rollout_tells_all_that_is_known() -> None:
    rollout = make_rollout(5, 2, Outcome.FAILED, attempt=2)
    line = failure_row(rollout)
    row = orjson.loads(line)
    assert line.count(b"\n") == 1
    assert (row["_ng_task_index"], row["_ng_rollout_index"], row["attempt"]) == (5, 2, 2)
    assert (row["kind"], row["stage"], row["terminal"]) == ("judge_failed", "verify", False)
    assert row["task"]["expected_answer"] == "4"
    assert len(row["items"]) == 4


def test_parquet_has_aligned_token_columns() -> None:
    rows = parquet_rows(make_rollout(), make_rollout(trajectory=two_turns(rewritten=True)))
    assert rows[0]["token_ids"] == [1, 2, 3, 4, 5, 6, 7]
    assert rows[0]["loss_mask"] == [0, 0, 0, 1, 1, 0, 1]
    assert rows[0]["logprobs"] == [0, 0, 0, -0.5, -0.25, 0, -0.125]
    assert rows[0]["policy_version"] == [-1, -1, -1, 3, 3, -1, 4]
    assert rows[0]["segment_lengths"] == [7]
    assert rows[1]["token_ids"] == [1, 2, 3, 4, 5, 9, 9, 6, 7]
    assert rows[1]["segment_lengths"] == [5, 4]


def test_parquet_has_the_conversation_in_chat_form() -> None:
    (row,) = parquet_rows(make_rollout())
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 2}'}}
    filled = [{key: value for key, value in message.items() if value} for message in row["messages"]]
    assert filled == [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "reasoning_content": "let me add", "tool_calls": [call]},
        {"role": "tool", "content": "4", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "It is 4."},
    ]


def test_a_conversation_without_a_chat_form_is_null_beside_others() -> None:
    odd = Trajectory([user_message("q")], [{"type": "web_search_call", "id": "w"}, assistant_message("a")])
    image = [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "data:,"}]
    seen = Trajectory([{"role": "user", "content": image}], [assistant_message("a")])
    rows = parquet_rows(make_rollout(trajectory=odd), make_rollout(), make_rollout(trajectory=seen))
    assert rows[0]["messages"] is None
    assert len(rows[1]["messages"]) == 4
    assert orjson.loads(rows[2]["messages"][0]["content"])[0] == {"type": "text", "text": "see"}


def test_parquet_and_jsonl_say_the_same() -> None:
    rollouts = [make_rollout(1, 0), make_rollout(1, 1, Outcome.MASKED)]
    for rollout, columns in zip(rollouts, parquet_rows(*rollouts), strict=True):
        row = row_of(rollout)
        for item in row["response"]["output"]:
            for name in ("prompt_token_ids", "generation_token_ids", "generation_log_probs"):
                item.pop(name, None)
        again = orjson.loads(columns["extra"])
        again["response"] = orjson.loads(columns["response"])
        again["responses_create_params"] = orjson.loads(columns["responses_create_params"])
        again |= {name: columns[name] for name in ("mask_sample", "failure_kind", "failure_reason")}
        again["reward"] = columns["reward"] or 0.0
        if columns["reward_components"]:
            again["reward_components"] = dict(columns["reward_components"])
        assert again == row
    assert parquet_rows(rollouts[1])[0]["reward"] is None


def test_no_column_breaks_nemo_rl() -> None:
    assert "task_name" not in ROLLOUT_SCHEMA.names


def test_a_nan_logprob_is_null_in_jsonl_and_nan_in_parquet() -> None:
    trajectory = two_turns()
    assert trajectory.turns[0].tokens is not None
    trajectory.turns[0].tokens.logprobs[0] = math.nan
    failure = Failure("nan_logprob", "model", "token 0")
    rollout = make_rollout(outcome=Outcome.MASKED, trajectory=trajectory, failure=failure)
    assert row_of(rollout)["response"]["output"][1]["generation_log_probs"] == [None, -0.25]
    assert math.isnan(parquet_rows(rollout)[0]["logprobs"][3])


def test_an_empty_table_has_the_schema() -> None:
    assert to_table([]).schema.equals(ROLLOUT_SCHEMA)


@settings(max_examples=60, deadline=None)
@given(rollouts)
def test_any_rollout_makes_both_rows(rollout: Rollout) -> None:
    rollout.task = orjson.dumps({"responses_create_params": {"input": "q"}, "x": 1})
    table = to_table([make_row(rollout)] * 2)
    table.validate(full=True)
    assert isinstance(row_of(rollout)["reward"], float)
    tokens = [turn.tokens for turn in rollout.trajectory.turns if turn.tokens] if rollout.trajectory else []
    (mask,) = table.slice(1, 1)["loss_mask"].to_pylist()
    assert sum(mask) == sum(len(turn.sampled) for turn in tokens)
    assert isinstance(table, pa.Table)
    assert row_of(decode(encode(rollout))) == row_of(rollout)
