"""Function-calling tasks: one request of one function, up to four requests among eight functions."""

from __future__ import annotations

import random
from collections.abc import Iterator

import orjson

from gym_ray.environments.functions import FUNCTIONS, NAMES, offer
from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.items import assistant_message, function_call

SYSTEM = "Answer with function calls, all of them at once. Call nothing that was not asked for."
GREETINGS = ["Hello!", "Thank you!", "Good morning.", "Never mind.", "That is all.", "How are you?"]


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in NeMo Gym's ``xlam_fc`` layout. See :func:`~gym_ray.environments.generate.distinct_rows`."""
    level = Difficulty(difficulty)
    rows = distinct_rows("xlam_fc", count, seed, level, lambda rng: _row(rng, *LEVELS[level]))
    return (row | {"id": number} for number, row in enumerate(rows))


def solve(row: Row) -> list[Turn]:
    """One turn with all calls, or a message when there are none."""
    calls = [
        function_call(call["name"], orjson.dumps(call["arguments"]).decode(), f"call_{position}")
        for position, call in enumerate(row["expected_answers"])
    ]
    return [calls or [assistant_message("You are welcome.")]]


LEVELS: dict[Difficulty, tuple[tuple[int, ...], int]] = {
    Difficulty.EASY: ((1,), 1),
    Difficulty.MEDIUM: ((0, 1, 1, 2), 4),
    Difficulty.HARD: ((2, 3, 4), 8),
}
"""How many requests a row may make, and how many functions it offers."""


def _row(rng: random.Random, requests: tuple[int, ...], offered: int) -> Row:
    wanted = [rng.choice(FUNCTIONS) for _ in range(rng.choice(requests))]
    drawn = {request: (function, arguments) for function in wanted for request, arguments in [function.draw(rng)]}
    tools = offer(rng, list(dict.fromkeys(function for function, _ in drawn.values())), offered)
    text = " ".join(drawn) or f"{rng.choice(GREETINGS)} My name is {rng.choice(NAMES)}."
    return {
        "responses_create_params": prompt_params(text, SYSTEM) | {"tools": tools},
        "expected_answers": [{"name": function.name, "arguments": values} for function, values in drawn.values()],
    }
