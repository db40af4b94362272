"""Three rewards: they are reported apart and add up. The verdicts themselves are golden."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gym_ray.environments.multi_reward import MultiReward
from gym_ray.resources.toolbox import Toolbox
from gym_ray.types.items import assistant_message, function_call
from tests.environments.support import grade

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "required": ["a"]}}


def row(**params: Any) -> dict[str, Any]:
    given = {"input": "?", "tools": [TOOL]} | params
    return {"responses_create_params": given, "expected_call": {"name": "f", "arguments": {"a": 1}}}


@pytest.mark.parametrize(
    ("items", "parts"),
    [
        ([function_call("f", '{"a": 1}', "0")], (1, 1, 1)),
        ([function_call("f", '{"a": 2}', "0")], (0, 1, 1)),
        ([function_call("f", '{"b": 2}', "0")], (0, 0, 1)),
        ([function_call("f", "{", "0"), function_call("f", '{"a": 1}', "1")], (1, 0, 0)),
        ([function_call("f", '{"a": 1}', "0"), assistant_message("Done.")], (1, 1, 0)),
        ([assistant_message(" \n"), function_call("f", '{"a": 1}', "0")], (1, 1, 1)),
        ([], (0, 0, 0)),
    ],
)
async def test_parts(items: list[Any], parts: tuple[int, int, int]) -> None:
    reward = await grade(MultiReward(), row(), items)
    assert reward.components == dict(zip(("correctness", "schema_valid", "format"), map(float, parts), strict=True))
    assert reward.value == sum(parts)
    assert reward.components.items() <= reward.extra.items()


@pytest.mark.parametrize("tools", [None, [], [{"type": "function", "name": "g"}]])
async def test_a_tool_that_is_not_offered_has_no_schema(tools: Any) -> None:
    reward = await grade(MultiReward(), row(tools=tools), [function_call("f", '{"a": 1}', "0")])
    assert reward.components["schema_valid"] == 0.0


async def test_a_tool_without_parameters_requires_nothing() -> None:
    reward = await grade(MultiReward(), row(tools=[{"type": "function", "name": "f"}]), [function_call("f", "", "0")])
    assert reward.components["schema_valid"] == 1.0


def test_a_row_needs_its_call() -> None:
    with pytest.raises(ValidationError):
        MultiReward.Task.model_validate({"responses_create_params": {"input": "?"}})


async def test_the_weather_can_be_asked() -> None:
    assert "Oslo" in await Toolbox(MultiReward(), 1.0).call({}, "get_weather", {"city": "Oslo"})
