"""Next steps: make the call that was asked for, ask when something is missing, make several calls at once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import orjson

from gym_ray.environments.functions import FUNCTIONS, NAMES, Function, offer
from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.items import assistant_message, function_call

SYSTEM = "Help the user. Call a function when you know all its arguments, several at once when several are asked for."
QUESTION = "Please tell me more."


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in the layout of NeMo Gym's ``single_step_tool_use_with_argument_comparison``.

    See :func:`~gym_ray.environments.generate.distinct_rows`.
    """
    level = Difficulty(difficulty)
    return distinct_rows("single_step_tool_use", count, seed, level, lambda rng: _row(rng, level))


def solve(row: Row) -> list[Turn]:
    """One turn: the expected step."""
    action = row["expected_action"]
    calls = action.get("calls", [action] if action["type"] == "function_call" else [])
    turn = [function_call(call["name"], call["arguments"], f"call_{number}") for number, call in enumerate(calls)]
    return [turn or [assistant_message(QUESTION)]]


def _row(rng: random.Random, level: Difficulty) -> Row:
    """easy: a call. medium: a call, or a question where arguments are missing. hard: also several calls."""
    shape = rng.choice(("call",) if level is Difficulty.EASY else ("call", "message"))
    if level is Difficulty.HARD:
        shape = rng.choice((shape, "batch"))
    functions = rng.sample(FUNCTIONS, rng.randint(2, 3) if shape == "batch" else 1)
    drawn = [function.draw(rng) for function in functions]
    calls = [_call(function, values) for function, (_, values) in zip(functions, drawn, strict=True)]
    request = " ".join(request for request, _ in drawn)
    if shape == "message":
        request = f"I am {rng.choice(NAMES)} {rng.choice('ABCDEFGHJKLMNPQRSTUVWXYZ')}. {functions[0].vague}"
    tools = offer(rng, functions, 2 if level is Difficulty.EASY else 5)
    return {
        "responses_create_params": prompt_params(request, SYSTEM) | {"tools": tools},
        "expected_action": {
            "call": calls[0],
            "message": {"type": "message", "content": QUESTION},
            "batch": {"type": "function_call_batch", "calls": calls},
        }[shape],
    }


def _call(function: Function, values: dict[str, Any]) -> dict[str, str]:
    return {"type": "function_call", "name": function.name, "arguments": orjson.dumps(values).decode()}
