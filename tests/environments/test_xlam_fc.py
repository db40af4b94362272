"""Function calling: rows, and any calls that a model can write. The verdicts themselves are golden."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gym_ray.environments.xlam_fc import XlamFc
from gym_ray.types.items import function_call
from tests.environments.support import grade


def row(*expected: tuple[str, Any]) -> dict[str, Any]:
    answers = [{"name": name, "arguments": arguments} for name, arguments in expected]
    return {"responses_create_params": {"input": "?"}, "expected_answers": answers}


def test_expected_arguments_may_be_text() -> None:
    task = XlamFc.Task.model_validate(row(("f", '{"a": 1}'), ("g", {"b": 2}), ("h", None)))
    assert [call.arguments for call in task.expected_answers] == [{"a": 1}, {"b": 2}, {}]


@pytest.mark.parametrize("arguments", ["[1]", "{", 7])
def test_bad_rows(arguments: Any) -> None:
    with pytest.raises(ValidationError):
        XlamFc.Task.model_validate(row(("f", arguments)))


async def test_output_fields() -> None:
    calls = [function_call("f", '{"a": 1}', "0"), function_call("g", "{", "1")]
    reward = await grade(XlamFc(), row(("f", {"a": 1}), ("f", {"a": 2})), calls)
    assert reward.value == 0.0
    assert reward.extra == {
        "num_expected": 2,
        "num_predicted": 2,
        "num_correct": 1,
        "predicted_calls": [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}],
    }


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=30)), max_size=8))
async def test_any_calls_are_graded(calls: list[tuple[str, str]]) -> None:
    items = [function_call(name, arguments, "0") for name, arguments in calls]
    reward = await grade(XlamFc(), row(("f", {"a": 1})), items, execute=False)
    assert reward.extra["num_predicted"] == len(calls)
    assert reward.value == 0.0
