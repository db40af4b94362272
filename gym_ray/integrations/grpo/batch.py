"""From rollouts to what a learner reads: samples, and padded tensors of them.

Invariants: ids, masks and log-probabilities are those of the trajectory, cut where its segments are, never tokenized
again. Only scored rollouts are learnt from, and only groups in which rewards differ. A rollout's advantage is the same
in all its segments.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gym_ray.integrations.grpo.objective import advantages
from gym_ray.types.outcome import Outcome
from gym_ray.types.rollout import Rollout
from gym_ray.types.tokens import Segment, segments_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sequence and the advantage of all its sampled tokens."""

    segment: Segment
    advantage: float

    @property
    def sampled(self) -> int:
        """Tokens that count."""
        return sum(self.segment.loss_mask)


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples side by side, padded on the right, where causal attention never looks. All are [rows, width].

    ``ids``: int64. ``mask``: bool, true where a token was sampled. ``logprobs``: float32, as recorded.
    ``advantage``: float32 [rows, 1].
    """

    ids: Tensor
    mask: Tensor
    logprobs: Tensor
    advantage: Tensor


def samples_of(groups: Iterable[Sequence[Rollout]], scale: bool = True) -> list[Sample]:
    """Every segment that has something to teach. ``groups``: the rollouts of one task each."""
    samples = []
    for group in groups:
        scored = [one for one in group if one.outcome is Outcome.SCORED and one.reward is not None]
        rewards = [one.reward.value for one in scored if one.reward is not None]
        for rollout, advantage in zip(scored, advantages(rewards, scale), strict=True):
            if advantage:
                samples += [Sample(segment, advantage) for segment in rollout_segments(rollout)]
    return samples


def rollout_segments(rollout: Rollout) -> list[Segment]:
    """The rollout's exact token sequences; none where the endpoint gave no ids."""
    turns = rollout.trajectory.turns if rollout.trajectory else []
    return segments_of([turn.tokens for turn in turns if turn.tokens is not None])


def parts(samples: Sequence[Sample], count: int, rng: random.Random) -> list[list[Sample]]:
    """The samples in random order, cut into at most ``count`` parts of about equal size: one optimizer step each."""
    mixed = rng.sample(samples, len(samples))
    size = -(-len(mixed) // count)
    return [mixed[start : start + size] for start in range(0, len(mixed), size)] if mixed else []


def batches(samples: Sequence[Sample], rows: int, padding: int) -> Iterator[Batch]:
    """The samples as tensors of at most ``rows`` rows, similar lengths together. ``padding``: any token's id."""
    ordered = sorted(samples, key=lambda sample: len(sample.segment.token_ids))
    for start in range(0, len(ordered), rows):
        yield _batch(ordered[start : start + rows], padding)


def _batch(samples: Sequence[Sample], padding: int) -> Batch:
    import torch

    width = max(len(sample.segment.token_ids) for sample in samples)

    def padded(column: str, filler: float, dtype: torch.dtype) -> Tensor:
        lists = [getattr(sample.segment, column) for sample in samples]
        return torch.tensor([one + [filler] * (width - len(one)) for one in lists], dtype=dtype)

    return Batch(
        padded("token_ids", padding, torch.int64),
        padded("loss_mask", 0, torch.bool),
        padded("logprobs", 0.0, torch.float32),
        torch.tensor([[sample.advantage] for sample in samples], dtype=torch.float32),
    )
