"""Pass rates, samplers, gates: deterministic, and what their settings say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_ray.service.curriculum import CurriculumConfig, PassRates, Pool, centre, refusal, weights

rewards = st.lists(st.floats(-2, 3), min_size=1, max_size=8)


def make_pool(rates: list[float | None], **settings: object) -> tuple[Pool, PassRates]:
    """A pool of one environment whose tasks have these pass rates."""
    config = CurriculumConfig.model_validate(settings)
    known = PassRates(config.memory)
    for number, rate in enumerate(rates):
        if rate is not None:
            known.observe(f"quiz/{number}", [rate])
    return Pool(config, known, ["quiz"] * len(rates), [str(number) for number in range(len(rates))]), known


def test_a_pass_rate_follows_the_policy_and_forgets() -> None:
    rates = PassRates(memory=0.5)
    assert rates.rate("quiz/1") is None
    rates.observe("quiz/1", [0.0, 0.0])
    rates.observe("quiz/1", [1.0, 1.0])
    assert rates.rate("quiz/1") == pytest.approx(2 / 3)
    rates.observe("quiz/1", [])
    assert rates.rate("quiz/1") == pytest.approx(2 / 3), "a group without a verdict says nothing"


@given(st.lists(st.tuples(st.sampled_from("abc"), rewards), max_size=20), st.floats(0, 1))
def test_pass_rates_stay_within_bounds_and_survive_a_dump(groups: list[tuple[str, list[float]]], memory: float) -> None:
    rates, copy = PassRates(memory), PassRates(memory)
    for key, group in groups:
        rates.observe(key, group)
        assert 0.0 <= (rates.rate(key) or 0.0) <= 1.0 + 1e-9
    copy.load(rates.dump())
    assert copy.dump() == rates.dump()
    assert [copy.rate(key) for key in "abc"] == [rates.rate(key) for key in "abc"]


@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=12), st.integers(0, 2000), st.integers(0, 9))
def test_draws_are_the_same_for_the_same_seed(rates: list[float | None], step: int, seed: int) -> None:
    for sampler in ("uniform", "window", "gaussian"):
        one, _ = make_pool(rates, sampler=sampler, seed=seed)
        other, _ = make_pool(rates, sampler=sampler, seed=seed)
        draws = [one.draw(step) for _ in range(10)]
        assert draws == [other.draw(step) for _ in range(10)]
        assert all(0 <= position < len(rates) for position in draws)


def test_uniform_draws_each_task_once_per_round_in_another_order() -> None:
    pool, _ = make_pool([None] * 20)
    first, second = ([pool.draw(0) for _ in range(20)] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second


def test_window_draws_what_is_inside_or_untried() -> None:
    pool, _ = make_pool([0.0, 0.05, 0.5, 0.9, None, 1.0], sampler="window", window=(0.1, 0.9))
    assert {pool.draw(0) for _ in range(200)} == {2, 3, 4}
    nothing, _ = make_pool([0.0, 1.0], sampler="window")
    assert {nothing.draw(0) for _ in range(50)} == {0, 1}, "there is always a task to draw"


def test_the_gaussians_centre_moves_from_easy_to_hard() -> None:
    config = CurriculumConfig(sampler="gaussian", start=0.9, end=0.1, steps=100)
    assert [centre(config, step) for step in (0, 50, 100, 900)] == pytest.approx([0.9, 0.5, 0.1, 0.1])
    rates = np.linspace(0, 1, 101)
    means = []
    for step in range(0, 101, 20):
        wanted = weights(config, rates, np.zeros(101, np.int64), step)
        assert abs(rates[wanted.argmax()] - centre(config, step)) < 0.011
        means.append(float((wanted * rates).sum() / wanted.sum()))
    assert means == sorted(means, reverse=True)


def test_shares_of_environments_are_kept_in_every_stretch() -> None:
    config = CurriculumConfig(mix={"math": 3, "quiz": 1})
    names = ["math"] * 5 + ["quiz"] * 50 + ["unused"] * 5
    pool = Pool(config, PassRates(0.5), names, [str(number) for number in range(60)])
    drawn = [names[pool.draw(0)] for _ in range(80)]
    for start in range(0, 80, 4):
        assert Counter(drawn[start : start + 4]) == {"math": 3, "quiz": 1}


def test_busy_tasks_are_drawn_seldom_and_can_be_drawn() -> None:
    pool, _ = make_pool([0.5] * 3, sampler="window")
    drawn = Counter(pool.draw(0, busy=[0, 0, 2, 2, 2, 2]) for _ in range(400))
    assert drawn[1] > 2 * drawn[0] > 4 * drawn[2] > 0
    only, _ = make_pool([0.5, 0.0], sampler="window")
    assert {only.draw(0, busy=[0] * 5) for _ in range(20)} == {0}, "a busy task is better than an unwanted one"


@given(rewards)
def test_no_gate_turns_a_scored_group_away_unless_asked_to(group: list[float]) -> None:
    assert refusal(CurriculumConfig(), group) is None


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ([], "masked"),
        ([0.0] * 4, "too_hard"),
        ([1.0] * 4, "too_easy"),
        ([0.5] * 4, "zero_variance"),
        ([0.1 + 0.2, 0.3], "zero_variance"),
        ([0.0, 1.0], None),
    ],
)
def test_gates_say_why(group: list[float], reason: str | None) -> None:
    assert refusal(CurriculumConfig(drop_zero_variance=True, admit=(0.1, 0.9)), group) == reason
