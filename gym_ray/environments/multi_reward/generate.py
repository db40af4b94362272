"""Tasks of one function call: one function on offer, four, or all eight."""

from __future__ import annotations

import random
from collections.abc import Iterator

import orjson

from gym_ray.environments.functions import FUNCTIONS, offer
from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.items import function_call

SYSTEM = "Answer with exactly one function call and no other text."
OFFERED = {Difficulty.EASY: 1, Difficulty.MEDIUM: 4, Difficulty.HARD: 8}
"""Functions that a row of the level offers."""


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in the layout of NeMo Gym's ``example_tool_call_multireward``.

    See :func:`~gym_ray.environments.generate.distinct_rows`.
    """
    level = Difficulty(difficulty)
    return distinct_rows("multi_reward", count, seed, level, lambda rng: _row(rng, OFFERED[level]))


def solve(row: Row) -> list[Turn]:
    """One turn: the call."""
    call = row["expected_call"]
    return [[function_call(call["name"], orjson.dumps(call["arguments"]).decode(), "call_0")]]


def _row(rng: random.Random, offered: int) -> Row:
    function = rng.choice(FUNCTIONS)
    request, arguments = function.draw(rng)
    return {
        "responses_create_params": prompt_params(request, SYSTEM) | {"tools": offer(rng, [function], offered)},
        "expected_call": {"name": function.name, "arguments": arguments},
    }
