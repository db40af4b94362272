"""From rollouts to a training step: whose tokens count, what a step does to the policy, and going on after a stop."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from gym_ray.integrations.grpo.batch import batches, parts, samples_of
from gym_ray.integrations.grpo.learner import Learner
from gym_ray.integrations.grpo.settings import LearnerConfig
from gym_ray.models import tiny
from gym_ray.types.outcome import Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage
from tests.support.rollouts import make_rollout, two_turns

WEIGHTS = str(Path(tiny.__file__).parent / "weights")


def rollout(reward: float, trajectory: Trajectory | None = None, **changes: Any) -> Rollout:
    return make_rollout(reward=Reward(reward), trajectory=trajectory or two_turns(), **changes)


def test_a_rollout_becomes_its_own_ids_masks_and_logprobs() -> None:
    good, bad = samples_of([[rollout(1.0), rollout(0.0)]])
    assert good.segment.token_ids == [1, 2, 3, 4, 5, 6, 7]
    assert good.segment.loss_mask == [0, 0, 0, 1, 1, 0, 1]
    assert (good.sampled, bad.sampled) == (3, 3)
    assert good.advantage == -bad.advantage > 0


def test_rewritten_history_is_two_sequences_of_one_advantage() -> None:
    samples = samples_of([[rollout(1.0, two_turns(rewritten=True)), rollout(0.0)]])
    assert [one.segment.token_ids for one in samples] == [[1, 2, 3, 4, 5], [9, 9, 6, 7], [1, 2, 3, 4, 5, 6, 7]]
    assert samples[0].advantage == samples[1].advantage == -samples[2].advantage


def test_only_scored_rollouts_of_groups_that_differ_are_learnt_from() -> None:
    masked = rollout(1.0, outcome=Outcome.MASKED)
    assert samples_of([[rollout(1.0), rollout(1.0)], [rollout(1.0), masked], [rollout(1.0)]]) == []
    samples = samples_of([[rollout(1.0), rollout(0.0), masked]])
    assert len(samples) == 2, "a masked rollout is no part of its group's mean"


def test_padding_and_places_of_a_batch() -> None:
    samples = samples_of([[rollout(1.0, two_turns(rewritten=True)), rollout(0.0)]])
    [small, large] = batches(samples, rows=2, padding=99)
    assert small.ids.tolist() == [[9, 9, 6, 7, 99], [1, 2, 3, 4, 5]]
    assert small.mask.tolist() == [[False, False, False, True, False], [False, False, False, True, True]]
    assert small.logprobs.tolist() == [[0, 0, 0, -0.125, 0], [0, 0, 0, -0.5, -0.25]]
    assert large.ids.tolist() == [[1, 2, 3, 4, 5, 6, 7]]
    assert large.advantage.shape == (1, 1)


def test_minibatches_share_all_samples() -> None:
    samples = samples_of([[rollout(float(index % 2)) for index in range(7)]])
    cut = parts(samples, 3, random.Random(0))
    assert sorted(map(len, cut)) == [1, 3, 3]
    assert sorted(id(one) for part in cut for one in part) == sorted(map(id, samples))
    assert parts([], 3, random.Random(0)) == []


@pytest.fixture(scope="module")
def policy() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32)


def logprobs(model: Any, ids: list[int]) -> torch.Tensor:
    """Of every id but the first, given those before it, computed in float32."""
    with torch.no_grad():
        every = torch.log_softmax(model(torch.tensor([ids])).logits[0], -1)
    return every[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def group(policy: Any) -> list[Rollout]:
    """Two answers to one prompt, with the log-probabilities that the policy gives them. The first is right."""
    prompt, answers = [1, 700, 701, 702], ([710, 711, 2], [712, 713, 714, 2])
    made = []
    for index, answer in enumerate(answers):
        recorded = logprobs(policy, prompt + answer)[len(prompt) - 1 :].tolist()
        turn = Turn(0, FinishReason.STOP, Usage(), TurnTokens(prompt, answer, recorded))
        made.append(rollout(1.0 - index, Trajectory([], turns=[turn])))
    return made


def learner(**settings: Any) -> Learner:
    return Learner(WEIGHTS, LearnerConfig(threads=1, warmup_steps=0, **settings), temperature=1.0, seed=0)


def test_a_step_makes_the_better_answer_likelier(policy: Any) -> None:
    rollouts = group(policy)
    made = learner(rate=1e-3)
    report = made.step(samples_of([rollouts])).means()
    assert (report["samples"], report["tokens"], report["updates"]) == (2, 7, 1)
    assert report["drift"] < 1e-3, "recorded and computed log-probabilities belong to the same tokens"
    assert report["clipped"] == 0
    policy_now = type(policy)(policy.config)
    policy_now.load_state_dict(made.tensors())
    change = []
    for one in rollouts:
        tokens = one.trajectory.turns[0].tokens  # type: ignore[union-attr]
        ids, at = tokens.prompt + tokens.sampled, len(tokens.prompt) - 1  # type: ignore[union-attr]
        change.append((logprobs(policy_now, ids) - logprobs(policy, ids))[at:].sum().item())
    assert change[0] > 0 > change[1]


def test_nothing_to_learn_changes_nothing(policy: Any) -> None:
    made = learner()
    assert made.step([]).updates == 0
    assert made.steps == 1
    assert all(torch.equal(now, policy.state_dict()[name]) for name, now in made.tensors().items())


def test_a_restored_learner_goes_on_as_the_other_does(policy: Any, tmp_path: Path) -> None:
    samples = samples_of([group(policy)])
    first = learner(minibatches=2)
    first.step(samples)
    torch.save(first.state(), tmp_path / "state")
    second = learner(minibatches=2)
    second.restore(torch.load(tmp_path / "state", weights_only=True))
    first.step(samples)
    second.step(samples)
    assert second.steps == 2
    other = second.tensors()
    assert all(torch.equal(now, other[name]) for name, now in first.tensors().items())
