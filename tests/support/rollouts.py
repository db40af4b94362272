"""Rollouts made by hand or by hypothesis, and a reader of rows written from NeMo-RL's documented rules."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import strategies as st

from gym_ray.collect.journal.frames import OUTCOME_CODES, Kind
from gym_ray.collect.journal.record import encode
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.types.items import assistant_message, function_call, function_call_output, reasoning, user_message
from gym_ray.types.outcome import Failure, Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage


def two_turns(*, rewritten: bool = False) -> Trajectory:
    """Reasoning and a tool call, the tool's answer, a final message. ``rewritten``: history was cut between."""
    first = TurnTokens([1, 2, 3], [4, 5], [-0.5, -0.25], 3)
    second = TurnTokens([9, 9, 6] if rewritten else [1, 2, 3, 4, 5, 6], [7], [-0.125], 4)
    items = [
        reasoning("let me add"),
        function_call("add", '{"a": 2, "b": 2}', "call_1"),
        function_call_output("call_1", "4"),
        assistant_message("It is 4."),
    ]
    turns = [
        Turn(1, FinishReason.TOOL_CALLS, Usage(3, 2), first, 0.5),
        Turn(3, FinishReason.STOP, Usage(6, 1, 5), second, 0.25),
    ]
    return Trajectory([user_message("2+2?")], items, turns, model="policy")


def make_rollout(number: int = 0, index: int = 0, outcome: Outcome = Outcome.SCORED, **changes: Any) -> Rollout:
    """A rollout with tokens, a tool call and timings."""
    row = {"responses_create_params": {"input": "2+2?"}, "expected_answer": "4", "id": f"task-{number}"}
    failure = None if outcome is Outcome.SCORED else Failure("judge_failed", "verify", "no verdict", False)
    given: dict[str, Any] = {
        "params": {"temperature": 0.5, "tools": [{"type": "function", "name": "add", "parameters": {}}]},
        "trajectory": two_turns(),
        "reward": Reward(1.0, {"right": 1.0}, {"extracted_answer": "4"}) if outcome is Outcome.SCORED else None,
        "failure": failure,
        "started": 1000.0,
        "finished": 1001.0,
        "timings": {"model": 0.75, "total": 1.0},
        "task": orjson.dumps(row),
    }
    given |= changes
    return Rollout(number, f"task-{number}", index, "adder", "tool_loop", outcome=outcome, **given)


def put(journal: JournalWriter, rollout: Rollout, kind: Kind = Kind.ROLLOUT) -> None:
    """Journal one rollout as a worker does."""
    reward = rollout.reward.value if rollout.reward is not None else None
    key = rollout.task_number, rollout.rollout_index
    journal.append(kind, *key, OUTCOME_CODES[rollout.outcome], reward, encode(rollout))


def message_log(row: dict[str, Any]) -> list[dict[str, Any]]:
    """What NeMo-RL makes of a row: token messages, contiguous or AssertionError (its 1.6 rules)."""
    assert isinstance(row["reward"], float)
    assert isinstance(row["instance_config"]["mask_sample"], bool)
    assert row["responses_create_params"]["input"]
    log: list[dict[str, Any]] = []
    seen: list[int] = []
    for item in row["response"]["output"]:
        if not item.get("generation_token_ids"):
            continue
        prompt, sampled = item["prompt_token_ids"], item["generation_token_ids"]
        assert prompt[: len(seen)] == seen, "Non-contiguous messages found!"
        log.append({"role": "user", "token_ids": prompt[len(seen) :]})
        log.append({"role": "assistant", "token_ids": sampled, "logprobs": item["generation_log_probs"]})
        seen = prompt + sampled
    assert log, "returned a result with no generation data"
    return log


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_number = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _number | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(_text, json_values, max_size=3)
_ids = st.lists(st.integers(0, 2**31 - 1), max_size=6)
_float32 = st.floats(width=32, allow_nan=False)


@st.composite
def token_turns(draw: st.DrawFn) -> list[TurnTokens | None]:
    """Turns as engines report them: some extend what was there, some start anew, some have no tokens."""
    turns: list[TurnTokens | None] = []
    seen: list[int] = []
    logprob = draw(st.sampled_from([_float32, st.floats(-1e30, 1e30)]))
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.integers(0, 4)) == 0:
            turns.append(None)
            continue
        prompt = ([] if draw(st.integers(0, 3)) == 0 else seen) + draw(_ids)
        sampled = draw(_ids)
        logprobs = draw(st.lists(logprob, min_size=len(sampled), max_size=len(sampled)))
        versions = st.lists(st.integers(0, 3), min_size=len(sampled), max_size=len(sampled))
        turns.append(TurnTokens(prompt, sampled, logprobs, draw(st.integers(0, 9) | versions)))
        seen = prompt + sampled
    return turns


_counts = st.integers(0, 10**9)
_usage = st.builds(Usage, _counts, _counts, _counts, _counts)
_turn = st.builds(Turn, st.integers(-1, 5), st.sampled_from(FinishReason), _usage, seconds=_number)
_plain_trajectory = st.builds(
    Trajectory,
    st.lists(json_objects, max_size=2),
    st.lists(json_objects, max_size=3),
    st.just([]),
    st.sampled_from(FinishReason),
    st.lists(_number, max_size=3),
    _text,
)


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    """A trajectory of any shape."""
    trajectory = draw(_plain_trajectory)
    for tokens in draw(token_turns()):
        turn = draw(_turn)
        turn.tokens = tokens
        trajectory.turns.append(turn)
    return trajectory


rollouts = st.builds(
    Rollout,
    st.integers(0, 2**40 - 1),
    _text,
    st.integers(0, 2**24 - 1),
    _text,
    _text,
    st.binary(max_size=40),
    json_objects,
    st.sampled_from(Outcome),
    st.none() | trajectories(),
    st.none() | st.builds(Reward, _number, st.dictionaries(_text, _number, max_size=2), json_objects),
    st.none() | st.builds(Failure, _text, _text, _text, st.booleans()),
    st.integers(0, 5),
    _number,
    _number,
    st.dictionaries(_text, _number, max_size=3),
)
