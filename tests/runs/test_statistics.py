"""Intervals and tests against published tables, brute force and, where it is installed, scipy."""

from __future__ import annotations

import math
import random
from itertools import product
from statistics import correlation, mean

import numpy as np
import pytest

from gym_ray.runs.statistics import Correlation, Moments, holm, sign_flip_p, t_cdf, t_quantile

TABLE = {1: 12.7062047, 2: 4.30265273, 5: 2.57058184, 10: 2.22813885, 30: 2.04227246, 1000: 1.96233908}
"""Two-sided 95 % points of Student's t (NIST/SEMATECH e-Handbook, to the digits of R's qt)."""


@pytest.mark.parametrize("freedom", TABLE)
def test_quantiles_are_those_of_the_tables(freedom: int) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(TABLE[freedom], rel=1e-8)


@pytest.mark.parametrize("freedom", [1, 3, 8, 400])
@pytest.mark.parametrize("t", [-4.0, -0.5, 0.0, 0.02, 1.0, 3.0])
def test_the_distribution_is_the_integral_of_its_density(freedom: int, t: float) -> None:
    grid = (np.arange(20_000) + 0.5) / 20_000 * t
    density = (1 + grid**2 / freedom) ** (-(freedom + 1) / 2)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    assert t_cdf(t, freedom) == pytest.approx(0.5 + scale * t * density.mean(), abs=1e-8)


def test_scipy_agrees() -> None:
    stats = pytest.importorskip("scipy.stats")
    random_ = np.random.default_rng(1)
    for freedom in (1, 4, 57):
        values = random_.normal(9.1, 1, freedom + 1)
        moments = Moments()
        for value in values:
            moments.add(value)
        found = moments.estimate()
        low, high = stats.t.interval(0.95, freedom, values.mean(), stats.sem(values))
        assert found is not None
        assert (found.low, found.high) == pytest.approx((low, high))


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    random_, hits = random.Random(0), 0
    for _ in range(1000):
        moments = Moments()
        for _ in range(6):
            moments.add(random_.gauss(3.0, 2.0))
        found = moments.estimate()
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 3.0 <= found.high
    assert 930 <= hits <= 970


def _estimate(values: list[float], **bounds: float) -> tuple[float, float]:
    moments = Moments(**bounds)
    for value in values:
        moments.add(value)
    found = moments.estimate()
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def test_the_interval_of_independent_yes_and_no_is_wilsons() -> None:
    values = [1.0] * 30 + [0.0] * 10
    # The variance between tasks divides by n - 1: the score interval of 39 draws, with t(39) for the normal quantile.
    t = t_quantile(0.975, 39)
    low, high = _estimate(values)
    for edge in (low, high):
        assert abs(0.75 - edge) == pytest.approx(t * (edge * (1 - edge) / 39) ** 0.5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_tasks_that_all_agree_still_leave_doubt(value: float) -> None:
    low, high = _estimate([value] * 10)
    far = 0.27753  # 1.95996**2 / (10 + 1.95996**2)
    assert (low, high) == pytest.approx((0.0, far) if value == 0.0 else (1.0 - far, 1.0), abs=1e-5)
    assert _estimate([2.0] * 10) == (2.0, 2.0), "what has no bounds is Student's"


def test_rates_stay_between_0_and_1_and_cover_the_truth() -> None:
    """Clusters of eight rollouts, as tasks are: each task has a rate of its own, 0.9 on average."""
    random_, hits, students = np.random.default_rng(4), 0, 0
    for _ in range(1000):
        rates = random_.binomial(8, random_.beta(4.5, 0.5, 12)) / 8
        low, high = _estimate(rates.tolist())
        assert 0.0 <= low <= rates.mean() <= high <= 1.0
        hits += low <= 0.9 <= high
        low, high = _estimate(rates.tolist(), most=0.0)  # bounds that do not hold: Student's
        students += low <= 0.9 <= high
    assert hits >= 910
    assert hits > students + 20


def test_differences_stay_between_their_bounds() -> None:
    low, high = _estimate([1.0, 1.0, 0.0, 1.0], least=-1.0)
    assert -1.0 <= low < 0.75 < high <= 1.0
    low, high = _estimate([0.0] * 7 + [1.0], least=-1.0)
    assert low < 0.0, "one better task of eight proves nothing"


def test_few_observations_have_no_interval() -> None:
    moments = Moments()
    assert moments.estimate() is None
    moments.add(2.0)
    found = moments.estimate()
    assert found is not None
    assert (found.mean, found.low, found.high, found.tasks) == (2.0, None, None, 1)


def _brute_p(differences: list[float]) -> float:
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in product((1, -1), repeat=8)]
    return mean(total >= abs(sum(differences)) - 1e-9 for total in sums)


def test_few_pairs_are_tested_exactly() -> None:
    random_ = random.Random(2)
    for _ in range(20):
        differences = [random_.choice((-1.0, -0.5, 0.25, 0.5, 1.0)) for _ in range(8)]
        assert sign_flip_p(differences) == pytest.approx(_brute_p(differences))


def test_many_pairs_are_tested_by_chance() -> None:
    """Differences of one size: both tails of a binomial, 0.0569 for 60 of 100."""
    assert sign_flip_p([1.0] * 60 + [-1.0] * 40) == pytest.approx(0.0569, abs=0.006)
    assert sign_flip_p([0.5] * 1000) == pytest.approx(1 / 20_001)


def test_ties_say_nothing() -> None:
    assert sign_flip_p([0.0] * 50) == 1.0
    assert sign_flip_p([]) == 1.0
    assert sign_flip_p([0.0] * 50 + [1.0, 1.0]) == sign_flip_p([1.0, 1.0]) == 0.5


def test_false_alarms_are_as_rare_as_promised() -> None:
    random_ = np.random.default_rng(3)
    alarms = sum(sign_flip_p(list(random_.normal(0, 1, 11))) < 0.05 for _ in range(400))
    assert alarms <= 34


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_correlation_in_one_pass() -> None:
    random_, found = random.Random(4), Correlation()
    xs = [random_.gauss(100, 3) for _ in range(200)]
    ys = [x * 0.2 + random_.gauss(0, 1) for x in xs]
    assert found.value is None
    for x, y in zip(xs, ys, strict=True):
        found.add(x, y)
    assert found.value == pytest.approx(correlation(xs, ys))


def test_what_never_varies_has_no_correlation() -> None:
    found = Correlation()
    for y in (1.0, 2.0, 3.0):
        found.add(5.0, y)
    assert found.value is None
