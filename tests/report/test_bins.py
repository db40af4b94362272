"""Bins: nothing is lost, and what a bin says is so."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_ray.runs.report.bins import INTERVALS, VALUES, Distribution, Timeline

numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))


@given(st.lists(numbers, min_size=1, max_size=200))
def test_every_number_is_in_its_bin(values: list[float]) -> None:
    seen = Distribution()
    for value in values:
        seen.add(value)
    its = seen.summary()
    assert len(its["bins"]) <= VALUES
    assert sum(count for _, count in its["bins"]) == len(values)
    for low, count in its["bins"]:
        here = [value for value in values if (low <= value < low + its["width"] if its["width"] else value == low)]
        assert len(here) == count


def test_few_values_keep_a_bin_each() -> None:
    seen = Distribution()
    for value in (0.0, 1.0, 0.5, 1.0):
        seen.add(value)
    assert seen.summary() == {"width": 0.0, "bins": [[0.0, 1], [0.5, 1], [1.0, 2]]}


moments, lengths = st.integers(0, 4000), st.integers(0, 800)


@given(
    st.lists(st.tuples(moments, lengths, st.integers(0, 50)), min_size=1, max_size=60),
    st.lists(st.tuples(moments, st.none() | lengths), max_size=20),
)
def test_a_time_line_agrees_with_counting_by_hand(
    rollouts: list[tuple[int, int, int]], unfinished: list[tuple[int, int | None]]
) -> None:
    began = 1_700_000_000.0
    timeline, spans = Timeline(), [(begin / 8, (begin + length) / 8, tokens) for begin, length, tokens in rollouts]
    for begin, end, tokens in spans:
        timeline.add(began + begin, began + end, tokens)
    stays = [(at / 8, math.inf if length is None else (at + length) / 8) for at, length in unfinished]
    for begin, end in stays:
        timeline.add_unfinished(began + begin, None if end == math.inf else began + end)
    its = timeline.summary()
    assert its is not None
    width, first = its["width"], its["start"] - began
    assert len(its["finished"]) <= INTERVALS
    assert sum(its["finished"]) * width == pytest.approx(len(spans), abs=0.1)
    for at, mean in enumerate(its["in_flight"]):
        low, high = first + at * width, first + (at + 1) * width
        inside = sum(max(0.0, min(end, high) - max(begin, low)) for begin, end, *_ in [*spans, *stays])
        assert mean == pytest.approx(inside / width, abs=1e-3)
        ended = [tokens for _, end, tokens in spans if low <= end < high]
        assert its["finished"][at] == pytest.approx(len(ended) / width, abs=1e-3)
        assert its["tokens"][at] == pytest.approx(sum(ended) / width, abs=1e-3)


def test_rollouts_without_times_are_left_out() -> None:
    timeline = Timeline()
    for started, finished in ((0.0, 0.0), (5.0, 4.0), (5.0, math.inf)):
        timeline.add(started, finished, 1)
    assert timeline.summary() is None
