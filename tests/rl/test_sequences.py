"""What TRL gets of a batch: own ids, tool tokens masked, rollouts without verdict present but weightless."""

from __future__ import annotations

from typing import Any

import pytest

from gym_ray.integrations.trl.sequences import columns
from gym_ray.types.errors import UserError
from gym_ray.types.outcome import Outcome, Reward
from gym_ray.types.rollout import Rollout
from tests.support.rollouts import make_rollout, two_turns


def rollout(**changes: Any) -> Rollout:
    return make_rollout(**{"reward": Reward(0.5)} | changes)


def test_prompt_is_what_came_before_the_first_sampled_token() -> None:
    fields = columns([[rollout()]]).fields()
    assert fields == {
        "prompt_ids": [[1, 2, 3]],
        "completion_ids": [[4, 5, 6, 7]],
        "logprobs": [[-0.5, -0.25, 0.0, -0.125]],
        "env_mask": [[1, 1, 0, 1]],
        "reward": [0.5],
    }


def test_no_verdict_no_weight() -> None:
    masked = rollout(outcome=Outcome.MASKED)
    failed = rollout(outcome=Outcome.FAILED, trajectory=None, reward=None)
    made = columns([[rollout(), masked], [failed, failed]])
    assert made.reward == [0.5, None, None, None]
    assert made.env_mask == [[1, 1, 0, 1], *[[0, 0, 0, 0]] * 3]
    assert made.completion_ids == [[4, 5, 6, 7]] * 4, "a rollout without tokens stands in with another's"


def test_of_rewritten_history_the_last_sequence_is_taken() -> None:
    made = columns([[rollout(trajectory=two_turns(rewritten=True)), rollout()]])
    assert (made.prompt_ids[0], made.completion_ids[0], made.env_mask[0]) == ([9, 9, 6], [7], [1])
    assert made.cut == 1


def test_nothing_to_learn_from_says_why() -> None:
    with pytest.raises(UserError, match="judge_failed: no verdict"):
        columns([[rollout(outcome=Outcome.FAILED, trajectory=None, reward=None)]])
