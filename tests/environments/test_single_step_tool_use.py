"""The next step: categories, what the number of calls costs, rows and options. Other verdicts are golden."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gym_ray.environments.single_step_tool_use import SingleStepToolUse
from gym_ray.environments.single_step_tool_use.comparison import Category, Comparison, Thresholds
from gym_ray.types.items import assistant_message, function_call
from tests.environments.support import grade


def call(name: str, value: Any = 1) -> dict[str, Any]:
    return {"type": "function_call", "name": name, "arguments": {"a": value}}


def row(*calls: dict[str, Any]) -> dict[str, Any]:
    action = calls[0] if len(calls) == 1 else {"type": "function_call_batch", "calls": list(calls)}
    return {"responses_create_params": {"input": "?"}, "expected_action": action}


def made(*names: str) -> list[dict[str, Any]]:
    return [function_call(name, '{"a": 1}', str(number)) for number, name in enumerate(names)]


@pytest.mark.parametrize(
    ("wanted", "given", "problem"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {"a": 2}, Category.VALUE),
        ({"a": 1}, {"a": True}, Category.TYPE),
        ({"a": 1.5}, {"a": 2}, Category.TYPE),
        ({"a": 1.5}, {"a": 1.5000001}, None),
        ({"a": 1.5}, {"a": float("inf")}, Category.VALUE),
        ({"a": {"b": 1}}, {"a": {"c": 1}}, Category.KEYS),
        ({"a": [1]}, {"a": [1, 1]}, Category.LENGTH),
        ({"a": [[1], "x"]}, {"a": [[2], "x"]}, Category.VALUE),
        ({"a": None}, {"a": None}, None),
        ({"a": "one"}, {"a": "One"}, Category.VALUE),
        ({"a": "one two"}, {"a": "TWO one"}, None),
        ({"a": "one two three"}, {"a": "one two four"}, Category.VALUE),
        ({"a": "one two three"}, {"a": "three one two"}, None),
        ({}, None, Category.DECODE),
    ],
)
def test_arguments(wanted: Any, given: Any, problem: Category | None) -> None:
    assert Comparison(Thresholds(0.4, 1e-6)).problem("f", wanted, "f", given) == problem
    assert Comparison(Thresholds(0.4, 1e-6)).problem("f", wanted, "g", given) == Category.TOOL


@pytest.mark.parametrize(
    ("names", "mode", "subset", "superset", "reward"),
    [
        ("fg", "binary_strict", False, False, 1.0),
        ("gf", "f1", False, False, 1.0),
        ("f", "binary_strict", False, False, 0.0),
        ("f", "binary_strict", True, False, 1.0),
        ("f", "fractional", True, False, 1.0),
        ("f", "f1", True, False, 2 / 3),
        ("fgx", "binary_strict", False, False, 0.0),
        ("fgx", "binary_strict", False, True, 1.0),
        ("fgxxx", "f1", False, True, 4 / 7),
        ("fx", "fractional", False, False, 0.5),
        ("fx", "f1", False, False, 0.5),
        ("xx", "f1", True, True, 0.0),
    ],
)
async def test_the_number_of_calls(names: str, mode: Any, subset: bool, superset: bool, reward: float) -> None:
    server = SingleStepToolUse(
        parallel_tool_call_rewarding=True,
        allow_subset=subset,
        allow_superset=superset,
        parallel_tool_call_reward_mode=mode,
    )
    assert (await grade(server, row(call("f"), call("g")), made(*names))).value == pytest.approx(reward)


@pytest.mark.parametrize(
    ("expected", "items", "category"),
    [
        ("f", made("f"), Category.CALL),
        ("f", made("g"), Category.TOOL),
        ("f", made("g", "f"), Category.CALL),
        ("f", [assistant_message("Hi")], Category.NO_CALL),
        ("f", [], Category.NOTHING),
        ("fg", made("g", "f"), Category.BATCH),
        ("fg", made("f"), Category.COUNT),
        ("fg", made("f", "x"), Category.TOOL),
        ("fg", [*made("f"), function_call("g", '{"a": 2}', "1")], Category.VALUE),
    ],
)
async def test_categories(expected: str, items: list[Any], category: Category) -> None:
    reward = await grade(SingleStepToolUse(), row(*map(call, expected)), items)
    assert reward.extra == {"category": str(category)}


@pytest.mark.parametrize("action", [{"type": "function_call", "name": "f", "arguments": "[]"}, {"type": "dance"}, {}])
def test_bad_rows(action: Any) -> None:
    with pytest.raises(ValidationError):
        SingleStepToolUse.Task.model_validate(row(action))


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="no mode 'lenient'"):
        SingleStepToolUse(parallel_tool_call_reward_mode="lenient")  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from("fgx"), st.text(max_size=20)), max_size=6))
async def test_any_calls_are_graded(calls: list[tuple[str, str]]) -> None:
    items = [function_call(name, arguments, "0") for name, arguments in calls]
    reward = await grade(SingleStepToolUse(), row(call("f"), call("g")), items, execute=False)
    assert reward.value in (0.0, 1.0)
