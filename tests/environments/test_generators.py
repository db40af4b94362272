"""Generators: reproducible, without repeats, solvable by their expert, and by nothing less."""

from __future__ import annotations

import copy
import json
from itertools import islice
from typing import Any

import pytest

from gym_ray.environments import catalog
from gym_ray.environments.generate import Difficulty, distinct_rows, prompt_params
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.errors import UserError
from gym_ray.types.items import Item, assistant_message, function_call
from tests.environments.support import grade
from tests.environments.test_golden import SERVERS

LEVELS = [(name, level) for name in SERVERS for level in Difficulty]
COUNT = 200
BEST = {"multi_reward": 3.0}
"""The best reward where it is not 1.0."""


def prompt(row: dict[str, Any]) -> str:
    return str(row["responses_create_params"]["input"])


def played(row: dict[str, Any]) -> list[Item]:
    return [item for turn in catalog.solver(row["environment"])(row) for item in turn]


@pytest.mark.parametrize(("name", "level"), LEVELS)
async def test_the_expert_gets_the_reward(name: str, level: Difficulty) -> None:
    server = SERVERS[name]()
    for row in catalog.generator(name)(COUNT, 5, level):
        reward = await grade(server, row, played(row))
        assert reward.value == BEST.get(name, 1.0), (row, reward.extra)


def spoiled(name: str, row: dict[str, Any]) -> list[list[Item]]:
    """Answers to ``row`` that are nearly right."""
    if name == "mcqa":
        letters = [letter for option in row["options"] for letter in option if letter != row["expected_answer"]]
        return [[assistant_message(f"\\boxed{{{letter}}}")] for letter in letters]
    if name == "math":
        question = row["question"].removeprefix("What is ").removesuffix("?")
        answers = [f"{row['expected_answer']} + 1", f"{row['expected_answer']}1", question, ""]
        return [[assistant_message(f"\\boxed{{{answer}}}")] for answer in answers]
    if name == "structured_outputs":
        return [[assistant_message("{}")], [assistant_message(json.dumps({"answer": row["expected_object"]}))]]
    if name in ("calendar", "string_match"):
        return [[], [assistant_message("?")], [assistant_message(prompt(row).replace("Answer:", ""))]]
    if name == "instruction_following":
        return [[], [assistant_message(" ")]]
    if name in ("multi_reward", "single_step_tool_use", "xlam_fc"):
        renamed = [item | {"name": "other"} for item in played(row) if item["type"] == "function_call"]
        return [renamed or [function_call("other", "{}", "call_0")]]
    items = played(row)
    unfinished = [item for item in items if item.get("call_id") != f"call_{len(row['expert_turns']) - 1}_0"]
    return [[assistant_message("Done.")], unfinished]


@pytest.mark.parametrize(("name", "level"), LEVELS)
async def test_less_does_not(name: str, level: Difficulty) -> None:
    server = SERVERS[name]()
    for row in catalog.generator(name)(40, 6, level):
        for items in spoiled(name, row):
            assert (await grade(server, row, items)).value < BEST.get(name, 1.0), (row, items)


async def test_wrong_content_does_not() -> None:
    server: ResourcesServer = SERVERS["structured_outputs"]()
    solve = catalog.solver("structured_outputs")
    for row in catalog.generator("structured_outputs")(40, 7, "easy"):
        other = copy.deepcopy(row)
        name, value = next(iter(row["expected_object"].items()))
        other["expected_object"][name] = (not value) if isinstance(value, bool) else value * 2
        assert (await grade(server, row, solve(other)[0])).extra["error_type"] in ("content_error", "validation_error")


@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_same_arguments_same_rows(name: str, level: Difficulty) -> None:
    generate = catalog.generator(name)
    rows = list(generate(COUNT, 1, level))
    assert rows == list(generate(COUNT, 1, level.value))
    assert rows[:7] == list(generate(7, 1, level))
    other = [prompt(row) for row in generate(COUNT, 2, level)]
    assert [prompt(row) for row in rows] != other
    assert json.loads(json.dumps(rows)) == rows


@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_no_row_twice_and_short_prompts(name: str, level: Difficulty) -> None:
    rows = list(islice(catalog.generator(name)(10_000, 3, level), 1_000))
    assert len({prompt(row) for row in rows}) == len({row["task_id"] for row in rows}) == len(rows) == 1_000
    assert max(len(prompt(row)) for row in rows) < 1_000
    assert all(row["environment"] == name for row in rows)


def test_a_level_that_is_used_up_says_so() -> None:
    rows = distinct_rows(
        "dice", 7, 0, "easy", lambda rng: {"responses_create_params": prompt_params(str(rng.randint(1, 6)))}
    )
    with pytest.raises(UserError, match="only about 6 distinct tasks, 7 were asked for"):
        list(rows)


def test_unknown_names_and_levels() -> None:
    with pytest.raises(UserError, match=r"there are .*math, .*mcqa"):
        catalog.generator("maths")
    with pytest.raises(ValueError, match="impossible"):
        next(catalog.generator("mcqa")(1, 0, "impossible"))
