"""pass@k, pass^k and majority@k against brute force over every choice of k rollouts."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from gym_ray.runs.estimators import majority_at, pass_all, pass_at


@pytest.mark.parametrize("n", range(1, 9))
def test_pass_estimates_are_the_average_over_all_draws(n: int) -> None:
    for c in range(n + 1):
        rollouts = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            draws = list(combinations(rollouts, k))
            assert pass_at(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))
            assert pass_all(n, c, k) == pytest.approx(sum(map(all, draws)) / len(draws))


def test_estimates_are_unbiased() -> None:
    """Groups of 6 drawn at random: the mean estimate is the chance of the process that made them."""
    random_, chance, k = random.Random(0), 0.3, 3
    counts = [sum(random_.random() < chance for _ in range(6)) for _ in range(20_000)]
    found = sum(pass_at(6, c, k) for c in counts) / len(counts), sum(pass_all(6, c, k) for c in counts) / len(counts)
    assert found == pytest.approx((1 - (1 - chance) ** k, chance**k), abs=0.01)


def test_large_groups_do_not_overflow() -> None:
    assert pass_at(4096, 1, 2048) == pytest.approx(0.5)
    assert pass_all(4096, 4095, 2048) == pytest.approx(0.5)


def test_missing_rollouts_never_raise_pass_at_k() -> None:
    """Two tasks, one with a single wrong rollout left: leaving it out of pass@2 would give 1.0."""
    left = [(1, 0), (2, 2)]
    assert sum(pass_at(n, c, 2) for n, c in left) / 2 == 0.5
    for n in range(1, 8):
        for c in range(n + 1):
            assert pass_at(n, c, 8) <= pass_at(8, c, 8)
            assert pass_all(n, c, 8) >= pass_all(8, c, 8)


@pytest.mark.parametrize("counts", [(0, 0, 1), (2, 3, 1), (2, -1, 1), (2, 1, 0)])
def test_no_such_group(counts: tuple[int, int, int]) -> None:
    for estimate in (pass_at, pass_all):
        with pytest.raises(ValueError, match="no such group"):
            estimate(*counts)


def test_the_majority_of_the_first_k_decides() -> None:
    votes = [("a", False), ("b", True), ("b", True), ("a", False), ("a", False)]
    assert [majority_at(votes, k) for k in range(1, 7)] == [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]


def test_no_answer_has_no_vote_and_is_told_apart() -> None:
    assert majority_at([(None, False), (None, False), ("b", True)], 3) == 1.0
    assert majority_at([(None, False), (None, False), ("b", True)], 2) is None


def test_an_answer_that_was_judged_differently_counts_by_its_mean() -> None:
    assert majority_at([("a", True), ("a", False), ("b", True)], 3) == 0.5
