"""GRPO's arithmetic against sums done by hand, one token at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gym_ray.integrations.grpo.objective import advantages, surrogate

LOW, HIGH = 0.2, 0.28


def test_advantages_of_a_group_by_hand() -> None:
    # Mean 0.5, squared distances 4 * 0.25, over n - 1 = 3.
    unit = math.sqrt(1 / 3)
    assert advantages([1.0, 0.0, 0.0, 1.0]) == pytest.approx([0.5 / unit, -0.5 / unit, -0.5 / unit, 0.5 / unit])
    assert advantages([1.0, 0.0, 0.0, 1.0], scale=False) == [0.5, -0.5, -0.5, 0.5]


@pytest.mark.parametrize("rewards", [[], [1.0], [0.5, 0.5, 0.5], [0.1 + 0.2, 0.3]])
def test_equal_rewards_teach_nothing(rewards: list[float]) -> None:
    assert advantages(rewards) == [0.0] * len(rewards)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8))
def test_advantages_have_mean_zero_and_keep_the_order(rewards: list[float]) -> None:
    found = advantages(rewards)
    assert sum(found) == pytest.approx(0.0, abs=1e-6)
    if any(found):
        ranked = sorted(range(len(rewards)), key=rewards.__getitem__)
        assert [found[at] for at in ranked] == sorted(found)


def brute_force(now: list[float], recorded: list[float], advantage: list[float], tokens: int) -> tuple[float, float]:
    """Loss and share of clipped tokens."""
    total, clipped = 0.0, 0
    for new, old, worth in zip(now, recorded, advantage, strict=True):
        ratio = math.exp(new) / math.exp(old)
        bounded = min(max(ratio, 1 - LOW), 1 + HIGH)
        total += min(ratio * worth, bounded * worth)
        clipped += (worth > 0 and ratio > 1 + HIGH) or (worth < 0 and ratio < 1 - LOW)
    return -total / tokens, clipped / tokens


numbers = st.floats(-3, 0).map(lambda number: round(number, 6))
worths = st.floats(-2, 2).map(lambda number: round(number, 6))


@given(st.lists(st.tuples(numbers, numbers, worths), min_size=1, max_size=10), st.integers(0, 5))
def test_the_loss_is_what_the_formula_says(rows: list[tuple[float, float, float]], elsewhere: int) -> None:
    now, recorded, advantage = (list(column) for column in zip(*rows, strict=True))
    tokens = len(rows) + elsewhere
    given = (torch.tensor(column, dtype=torch.float64) for column in (now, recorded, advantage))
    found = surrogate(*given, tokens, LOW, HIGH)
    loss, clipped = brute_force(now, recorded, advantage, tokens)
    assert found.loss.item() == pytest.approx(loss, abs=1e-9)
    assert found.clipped == pytest.approx(clipped, abs=1e-9)
    assert found.drift >= -1e-12


def test_the_clip_stops_the_gradient_on_one_side_only() -> None:
    recorded = torch.zeros(4)
    now = torch.tensor([0.5, 0.5, -0.5, -0.5], requires_grad=True)
    surrogate(now, recorded, torch.tensor([1.0, -1.0, 1.0, -1.0]), 4, LOW, HIGH).loss.backward()
    assert now.grad is not None
    # Too likely already and good, too unlikely already and bad: left alone. The other two are pulled back.
    ratios = now.detach().exp()
    assert now.grad.tolist() == pytest.approx([0.0, ratios[1].item() / 4, -ratios[2].item() / 4, 0.0])
