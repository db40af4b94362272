"""Sums that merge in any order, and quantiles close to the true ones."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gym_ray.collect.output.metrics import EnvironmentTotals, Histogram, merged, totals_of
from gym_ray.types.outcome import Outcome, Reward
from tests.support.rollouts import make_rollout


def test_quantiles_are_right_to_five_percent() -> None:
    values = np.random.default_rng(0).lognormal(0, 2, 20_000)
    histogram = Histogram()
    for value in values:
        histogram.add(float(value))
    summary = histogram.summary()
    assert summary["p50"] == pytest.approx(np.quantile(values, 0.5), rel=0.05)
    assert summary["p95"] == pytest.approx(np.quantile(values, 0.95), rel=0.05)
    assert summary["mean"] == pytest.approx(values.mean())


def test_repeated_values_and_zeros_are_exact() -> None:
    histogram = Histogram()
    for value in (0.0, 3.0, 3.0, 3.0):
        histogram.add(value)
    assert histogram.quantile(0.1) == 0.0
    assert histogram.summary() == {"mean": 2.25, "p50": 3.0, "p95": 3.0}
    assert Histogram().summary() == {"mean": 0.0, "p50": 0.0, "p95": 0.0}


def test_the_order_of_merging_does_not_matter() -> None:
    rollouts = [
        make_rollout(number, 0, random.Random(number).choice(list(Outcome)), timings={"total": 0.1 * number})
        for number in range(100)
    ]
    whole: dict[str, EnvironmentTotals] = {}
    totals_of(rollouts, whole)
    parts: list[dict[str, EnvironmentTotals]] = [{} for _ in range(7)]
    for number, rollout in enumerate(rollouts):
        totals_of([rollout], parts[number % 7])
    again = merged(reversed(parts))["adder"].summary()
    assert again.pop("seconds")["total"] == pytest.approx(whole["adder"].summary()["seconds"]["total"])
    expected = whole["adder"].summary()
    expected.pop("seconds")
    assert again == expected


def test_rewards_count_scored_rollouts_only() -> None:
    totals: dict[str, EnvironmentTotals] = {}
    totals_of([make_rollout(0, index, reward=Reward(value)) for index, value in enumerate((0.0, 1.0))], totals)
    totals_of([make_rollout(1, 0, Outcome.MASKED, reward=Reward(9.0)), make_rollout(1, 1, Outcome.FAILED)], totals)
    summary = totals["adder"].summary()
    assert summary["reward"] == {"mean": 0.5, "std": 0.5, "min": 0.0, "max": 1.0}
    assert (summary["scored"], summary["masked"], summary["failed"]) == (2, 1, 1)
    assert summary["failure_kinds"] == {"judge_failed": 2}
    assert summary["tokens"]["completion_tokens"] == 12
