"""GRPO's arithmetic: from rewards to advantages, from log-probabilities to a loss. Pure functions of tensors.

Advantages are those of GRPO (Shao et al. 2024, arXiv 2402.03300, section 4.1.2): a reward minus its group's mean, over
the group's standard deviation. The loss is PPO's clipped surrogate in the form of DAPO (Yu et al. 2025,
arXiv 2503.14476, equations 8 to 12): averaged over all tokens of the batch, clipped wider above than below, no KL term.

    loss = - sum_t min(r_t A, clip(r_t, 1 - low, 1 + high) A) / number of sampled tokens
    r_t  = exp(logprob now - logprob recorded when the token was sampled)

Invariant: the ratio's denominator is what the engine recorded while sampling, never a value computed again. So it also
corrects for weights that were newer or older than the learner's, and for the engine's other arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_STD = 1e-6
"""A group whose rewards differ by less has nothing to teach."""


def advantages(rewards: Sequence[float], scale: bool = True) -> list[float]:
    """One number per rollout of a group, their mean 0; all 0 where the rewards are equal or there is only one.

    Args:
        scale: divide by the sample standard deviation (n - 1). Without it: rewards minus their mean (Liu et al. 2025,
            arXiv 2503.20783, section 3.2).
    """
    if len(rewards) < 2 or (spread := stdev(rewards)) < SMALLEST_STD:
        return [0.0] * len(rewards)
    mean, unit = fmean(rewards), spread if scale else 1.0
    return [(reward - mean) / unit for reward in rewards]


@dataclass(frozen=True, slots=True)
class Surrogate:
    """``loss``: a scalar, to be minimised. ``clipped``: share of tokens whose gradient the clip removed.

    ``drift``: mean of ``(r - 1) - log r``, an estimate of the KL divergence of the policy that sampled from the present
    one (Schulman 2020, joschu.net/blog/kl-approx.html), natural-log units.
    """

    loss: Tensor
    clipped: float
    drift: float


def surrogate(
    now: Tensor, recorded: Tensor, advantage: Tensor, tokens: int, clip_low: float, clip_high: float
) -> Surrogate:
    """The loss of some sampled tokens. ``now``, ``recorded``, ``advantage``: float [tokens here].

    Args:
        tokens: what the sum is divided by: sampled tokens of the whole batch, of which these may be a part.
    """
    log_ratio = now - recorded
    ratio = log_ratio.exp()
    plain, bounded = ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage
    loss = -plain.minimum(bounded).sum() / tokens
    clipped = (bounded < plain).float().sum().item() / tokens
    return Surrogate(loss, clipped, (ratio - 1 - log_ratio).detach().sum().item() / tokens)
