"""Records give back exactly what they were given."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings

from gym_ray.collect.journal.record import decode, encode
from gym_ray.types.outcome import Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage
from tests.support.rollouts import make_rollout, rollouts, two_turns


@settings(max_examples=300, deadline=None)
@given(rollouts)
def test_any_rollout_comes_back_as_it_was(rollout: Rollout) -> None:
    assert decode(encode(rollout)) == rollout


def test_types_come_back_too() -> None:
    back = decode(encode(make_rollout()))
    assert back.trajectory is not None
    assert isinstance(back.trajectory.turns[0].finish_reason, FinishReason)
    assert isinstance(back.outcome, type(make_rollout().outcome))


def test_the_task_row_keeps_its_very_bytes() -> None:
    task = b'{ "responses_create_params" : {"input":"\\u00e9"}, "x":1.50 }'
    assert decode(encode(make_rollout(task=task))).task == task


def test_ids_are_stored_once_however_many_turns() -> None:
    turns, prompt = [], list(range(1000))
    for number in range(20):
        sampled = [number] * 10
        turns.append(Turn(0, FinishReason.STOP, Usage(), TurnTokens(list(prompt), sampled, [-1.0] * 10)))
        prompt += sampled
    trajectory = Trajectory([], [], turns)
    rollout = make_rollout(trajectory=trajectory)
    assert len(encode(rollout)) < 4 * (1000 + 200) + 4 * 200 + 2500
    assert decode(encode(rollout)) == rollout


def test_a_nan_logprob_survives() -> None:
    trajectory = two_turns()
    assert trajectory.turns[0].tokens is not None
    trajectory.turns[0].tokens.logprobs[1] = math.nan
    back = decode(encode(make_rollout(trajectory=trajectory))).trajectory
    assert back is not None
    assert back.turns[0].tokens is not None
    assert back.turns[0].tokens.logprobs[0] == -0.5
    assert math.isnan(back.turns[0].tokens.logprobs[1])


def test_fields_beyond_json_become_text_and_cost_no_rollout() -> None:
    deep: list[object] = []
    for _ in range(400):
        deep = [deep]
    extra = {"set": {1}, 2: "key", "huge": 2**80, "torn": "a\ud800b", "array": np.arange(2), "deep": deep, "type": int}
    back = decode(encode(make_rollout(reward=Reward(0.5, extra=extra)))).reward
    assert back is not None
    assert back.value == 0.5
    assert back.extra["set"] == [1]
    assert back.extra["2"] == "key"
    assert back.extra["huge"] == str(2**80)
    assert back.extra["torn"] == "a?b"
    assert back.extra["array"] == [0, 1]
    assert back.extra["type"] == "<class 'int'>"


def test_tokens_that_do_not_add_up_are_refused() -> None:
    trajectory = two_turns()
    assert trajectory.turns[0].tokens is not None
    trajectory.turns[0].tokens.logprobs.pop()
    with pytest.raises(ValueError, match="logprobs"):
        encode(make_rollout(trajectory=trajectory))
