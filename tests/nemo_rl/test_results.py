"""Result rows, held against what NeMo-RL's reader asks of them (docs/nemo_rl.md says where that is written)."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from gym_ray.integrations.nemo_rl.flags import Flags
from gym_ray.integrations.nemo_rl.lost import bad_row, lost
from gym_ray.integrations.nemo_rl.results import NO_TOKENS, NON_CONTIGUOUS, ResultMaker, neutral
from gym_ray.types.errors import FailureKind, Stage
from gym_ray.types.items import assistant_message, reasoning
from gym_ray.types.outcome import Failure, Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.tokens import Segment, segments_of
from tests.support.rollouts import make_rollout, two_turns

Json = dict[str, Any]


def read_strictly(result: Json) -> None:
    """Every rule that the reader and the driver have for one row."""
    full, log = result["full_result"], result["message_log"]
    assert result["input_message_log"] == log[:1]
    assert [message["role"] for message in log] == ["user", "assistant"] * (len(log) // 2)
    assert len(log) >= 2
    for message in log:
        assert message["content"] == ""
        assert message["token_ids"].dtype == np.int64
    for message in log[1::2]:
        assert len(message["token_ids"]) == len(message["generation_logprobs"]) > 0
        assert message["generation_logprobs"].dtype == np.float32
        assert not np.isnan(message["generation_logprobs"]).any()
        assert isinstance(message["is_invalid_tool_call"], bool)
        assert isinstance(message["has_malformed_thinking"], bool)
    assert type(full["reward"]) is float
    assert sum(full.get("reward_components", {"all": full["reward"]}).values()) == pytest.approx(full["reward"])
    assert isinstance(full["instance_config"]["mask_sample"], bool)
    assert isinstance(full["responses_create_params"]["input"], list)
    for item in full["response"]["output"]:
        assert not {"prompt_token_ids", "generation_token_ids", "generation_log_probs", "routed_experts"} & set(item)


def chained_segment(result: Json) -> Segment:
    """The log's tokens as one segment again: what a reader of the log trains on."""
    segment = Segment()
    for message in result["message_log"]:
        ids = [int(token) for token in message["token_ids"]]
        own = message["role"] == "assistant"
        segment.token_ids += ids
        segment.loss_mask += [int(own)] * len(ids)
        segment.logprobs += [float(one) for one in message["generation_logprobs"]] if own else [0.0] * len(ids)
    return segment


def results_of(*rollouts: Rollout, **settings: Any) -> list[Json]:
    results = ResultMaker(Flags(), **settings).group(rollouts)
    for result in results:
        read_strictly(result)
    return results


def test_a_scored_rollout_keeps_every_token_and_logprob() -> None:
    (result,) = results_of(make_rollout())
    (segment,) = segments_of([turn.tokens for turn in two_turns().turns if turn.tokens])
    chained = chained_segment(result)
    assert (chained.token_ids, chained.loss_mask, chained.logprobs) == (
        segment.token_ids,
        segment.loss_mask,
        segment.logprobs,
    )
    assert [list(message["token_ids"]) for message in result["message_log"]] == [[1, 2, 3], [4, 5], [6], [7]]
    full = result["full_result"]
    assert full["reward"] == 1.0
    assert full["reward_components"] == {"right": 1.0}
    assert full["extracted_answer"] == "4"
    assert not full["instance_config"]["mask_sample"]
    assert [item["type"] for item in full["response"]["output"]][:2] == ["reasoning", "function_call"]


@pytest.mark.parametrize(
    ("history", "tokens", "masked"), [("mask", [1, 2, 3, 4, 5], True), ("last", [9, 9, 6, 7], False)]
)
def test_rewritten_history_gives_one_chain(history: Any, tokens: list[int], masked: bool) -> None:
    rollout = make_rollout(trajectory=two_turns(rewritten=True))
    (result,) = results_of(rollout, history=history)
    assert chained_segment(result).token_ids == tokens
    assert result["full_result"]["instance_config"]["mask_sample"] is masked
    assert result["full_result"]["failure_kind"] == (NON_CONTIGUOUS if masked else None)
    assert result["full_result"]["reward"] == 1.0
    assert result["full_result"]["segments"] == 2


def test_what_has_no_verdict_moves_no_baseline() -> None:
    failed = make_rollout(outcome=Outcome.FAILED, trajectory=None)
    masked = make_rollout(outcome=Outcome.MASKED)
    scored = [make_rollout(reward=Reward(value, {"right": value})) for value in (1.0, 0.0)]
    results = results_of(scored[0], failed, scored[1], masked)
    rewards = [result["full_result"]["reward"] for result in results]
    assert rewards == [1.0, 0.5, 0.0, 0.5]
    assert np.mean(rewards) == np.mean([1.0, 0.0])
    assert [result["full_result"]["instance_config"]["mask_sample"] for result in results] == [False, True, False, True]
    assert [result["full_result"]["failed"] for result in results] == [False, True, False, False]
    assert results[1]["full_result"]["gym_ray"]["reward"] is None
    assert results[1]["full_result"]["failure_kind"] == "judge_failed"
    assert neutral([None, None]) == Reward(0.0)


def test_a_trainer_that_reads_no_mask_gets_no_advantage_on_masked_rows() -> None:
    rewritten = make_rollout(trajectory=two_turns(rewritten=True), reward=Reward(9.0, {"right": 9.0}))
    scored = [make_rollout(reward=Reward(value, {"right": value})) for value in (1.0, 0.0)]
    results = results_of(scored[0], rewritten, scored[1], reads_masks=False)
    assert [result["full_result"]["reward"] for result in results] == [1.0, 0.5, 0.0]
    assert results[1]["full_result"]["reward_components"] == {"right": 0.5}
    assert results[1]["full_result"]["gym_ray"]["reward"] == 9.0


def test_a_rollout_without_tokens_is_two_masked_ones() -> None:
    silent = two_turns()
    for turn in silent.turns:
        turn.tokens = None
    (result,) = results_of(make_rollout(trajectory=silent), eos=7)
    assert chained_segment(result).token_ids == [7, 7]
    assert result["full_result"]["failure_kind"] == NO_TOKENS
    assert result["full_result"]["instance_config"]["mask_sample"]
    assert result["full_result"]["reward"] == 1.0


def test_texts_are_those_of_each_call() -> None:
    (result,) = results_of(make_rollout(), decode=lambda rows: ["-".join(map(str, row)) for row in rows])
    output = result["full_result"]["response"]["output"]
    assert (output[1]["prompt_str"], output[1]["generation_str"]) == ("1-2-3", "4-5")
    assert (output[3]["prompt_str"], output[3]["generation_str"]) == ("1-2-3-4-5-6", "7")
    assert "generation_str" not in output[0]


def test_results_unpickle_where_there_is_no_gym_ray() -> None:
    results = results_of(make_rollout(), make_rollout(outcome=Outcome.FAILED, trajectory=None))
    code = "import sys; sys.modules['gym_ray'] = None; import pickle; pickle.load(sys.stdin.buffer)"
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(results), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("item", "flags"),
    [
        (assistant_message("The answer is 4."), (False, False)),
        (assistant_message("<tool_call>{}</tool_call>"), (True, False)),
        (assistant_message("hm</think>4"), (False, True)),
        (reasoning("<think>once</think>"), (False, False)),
        (reasoning("<think><think>twice"), (False, True)),
        (reasoning("so <function_call>"), (True, False)),
        ({"type": "function_call", "name": "add", "arguments": "<think>"}, (False, False)),
    ],
)
def test_flags_of_a_span(item: Json, flags: tuple[bool, bool]) -> None:
    assert Flags().of(item) == flags


def test_a_group_is_lost_only_if_every_server_was_away() -> None:
    def failed(kind: FailureKind) -> Rollout:
        failure = Failure(kind, Stage.MODEL, "nobody there", False)
        return make_rollout(outcome=Outcome.FAILED, trajectory=None, failure=failure)

    away = failed(FailureKind.TRANSPORT_UNREACHABLE)
    assert lost([away, failed(FailureKind.PROVIDER_UNAVAILABLE)]) == "model: transport_unreachable: nobody there"
    assert lost([away, make_rollout()]) == ""
    assert lost([away, failed(FailureKind.PROMPT_TOO_LONG)]) == ""


def test_a_row_that_is_no_task_costs_its_group_only() -> None:
    row = {"responses_create_params": {"input": "?", "temperature": 1.0}, "agent_ref": {"name": "a"}}
    results = results_of(*bad_row(row, 2, "mcqa", "expected_answer: field required"))
    assert [result["full_result"]["failure_kind"] for result in results] == ["bad_task"] * 2
    assert all(result["full_result"]["instance_config"]["mask_sample"] for result in results)
    assert results[0]["full_result"]["agent_ref"] == {"name": "a"}
