"""Rollouts in the shape that TRL's trainer wants: one prompt and one completion each, as many as it asked for.

Invariants: ids and log-probabilities are the trajectory's own. ``env_mask`` is 0 on all that the model did not sample
(tool results, injected messages). A rollout without a verdict has reward None, which TRL leaves out of its group's
mean, and ``env_mask`` 0 throughout, so that no token of it counts; one without tokens stands in with another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gym_ray.integrations.grpo.batch import rollout_segments
from gym_ray.types.errors import UserError
from gym_ray.types.outcome import Outcome
from gym_ray.types.rollout import Rollout


@dataclass(slots=True)
class Columns:
    """What a ``rollout_func`` returns, a list entry per rollout. ``cut``: rollouts of which only a part is here."""

    prompt_ids: list[list[int]] = field(default_factory=list)
    completion_ids: list[list[int]] = field(default_factory=list)
    logprobs: list[list[float]] = field(default_factory=list)
    env_mask: list[list[int]] = field(default_factory=list)
    reward: list[float | None] = field(default_factory=list)
    cut: int = 0

    def fields(self) -> dict[str, Any]:
        """By the names that TRL 1.16 reads: ``prompt_ids``, ``completion_ids``, ``logprobs`` and ``env_mask``; any
        other goes on to the reward functions."""
        names = ("prompt_ids", "completion_ids", "logprobs", "env_mask", "reward")
        return {name: getattr(self, name) for name in names}

    def add(self, rollout: Rollout, other: Rollout) -> None:
        """Add one. ``other``: a rollout with tokens, whose place in the batch this one may have to take.

        Of a rollout whose history was rewritten, which is several sequences, the last one goes in.
        """
        own = rollout_segments(rollout)
        segment = own[-1] if own else rollout_segments(other)[-1]
        scored = bool(own) and rollout.outcome is Outcome.SCORED and rollout.reward is not None
        start = segment.spans[0][0]
        self.prompt_ids.append(segment.token_ids[:start])
        self.completion_ids.append(segment.token_ids[start:])
        self.logprobs.append(segment.logprobs[start:])
        self.env_mask.append(segment.loss_mask[start:] if scored else [0] * (len(segment.token_ids) - start))
        self.reward.append(rollout.reward.value if scored and rollout.reward is not None else None)
        self.cut += len(own) > 1


def columns(groups: Sequence[Sequence[Rollout]]) -> Columns:
    """All rollouts of ``groups``, in order.

    Raises:
        UserError: none of them has a verdict and tokens.
    """
    made = Columns()
    rollouts = [rollout for group in groups for rollout in group]
    whole = [one for one in rollouts if rollout_segments(one)]
    if not any(one.outcome is Outcome.SCORED for one in whole):
        failure = next((one.failure for one in rollouts if one.failure), None)
        why = f"{failure.kind}: {failure.reason}" if failure else "the endpoint gives no token ids"
        raise UserError(f"no rollout to learn from: {why}")
    for group in groups:
        stand_in = next((one for one in group if rollout_segments(one)), whole[0])
        for rollout in group:
            made.add(rollout, stand_in)
    return made
