"""Calendars: times, windows, finding the list, rows, any text. The verdicts themselves are golden."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gym_ray.environments.calendar import Calendar
from gym_ray.environments.calendar.server import first_list
from gym_ray.environments.calendar.times import minutes, window
from gym_ray.types.items import assistant_message
from tests.environments.support import grade


def row(constraint: str | None = None, **fields: Any) -> dict[str, Any]:
    event = {"duration": 60, "constraint": constraint, "min_time": "10:00", "max_time": "16:00"} | fields
    return {"responses_create_params": {"input": "?"}, "exp_cal_state": {"0": event}}


@pytest.mark.parametrize(
    ("text", "at"),
    [("10:00", 600), ("9:05", 545), (" 14:30 ", 870), ("2pm", 840), ("2:15pm", 855), ("12pm", 720), ("12am", 0)],
)
def test_times(text: str, at: int) -> None:
    assert minutes(text) == at


@pytest.mark.parametrize("text", ["", "noon", "10", "10:60", "25:00", "10:00:00", "2 PM", "-1:00", "\u0661\u0660:00"])
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError):
        minutes(text)


@pytest.mark.parametrize(
    ("constraint", "begin", "end", "held"),
    [
        (None, 600, 960, True),
        (None, 599, 660, False),
        (None, 901, 961, False),
        ("before 11am", 600, 660, True),
        ("before 11am", 601, 661, False),
        ("after 2pm", 840, 900, True),
        ("after 2pm", 839, 899, False),
        ("at 11:15am", 675, 700, True),
        ("at 11:15am", 676, 700, False),
        ("between 10am and 11:45am", 645, 705, True),
        ("between 10am and 11:45am", 646, 706, False),
    ],
)
def test_windows(constraint: str | None, begin: int, end: int, held: bool) -> None:
    assert window(constraint, "10:00", "16:00").holds(begin, end) is held


@pytest.mark.parametrize("constraint", ["sometime", "before", "between 10am", "at noon", "after lunch"])
def test_bad_constraints_make_bad_rows(constraint: str) -> None:
    with pytest.raises(ValidationError):
        Calendar.Task.model_validate(row(constraint))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('x [{"a": 1}] y', [{"a": 1}]),
        ('[1] [{"a": [2]}]', [{"a": [2]}]),
        ('[{"a": 1}, 2] [{"b": 1}]', [{"b": 1}]),
        ('[{"a": 1} [{"b": "]"}]', [{"b": "]"}]),
        ('{"a": 1}', None),
        ("[]", None),
        ("[{" * 50_000, None),
    ],
)
def test_first_list(text: str, found: Any) -> None:
    assert first_list(text) == found


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
EVENT = st.fixed_dictionaries(
    {}, optional={"event_id": JSON | st.just(0), "start_time": JSON | st.just("10:00"), "duration": JSON | st.just(60)}
)


@given(st.lists(EVENT, max_size=3))
async def test_any_events_are_graded(events: list[Any]) -> None:
    reward = await grade(Calendar(), row(), [assistant_message(json.dumps(events))])
    right = [{"event_id": 0, "start_time": "10:00", "duration": 60}]
    assert reward.value == 1.0 if events == right else reward.value in (0.0, 1.0)


@given(st.text(alphabet='[]{}":,01a \n'))
async def test_any_text_is_graded(text: str) -> None:
    assert (await grade(Calendar(), row(), [assistant_message(text)])).value == 0.0
