"""The tasks of ``math``, under this environment's name."""

from __future__ import annotations

from collections.abc import Iterator

from gym_ray.environments.generate import Difficulty, Row, Turn
from gym_ray.environments.math import generate as math


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """See ``math``."""
    for row in math.generate(count, seed, difficulty):
        name = row["task_id"].replace("math-", "math_with_judge-", 1)
        yield row | {"task_id": name, "environment": "math_with_judge"}


def solve(row: Row) -> list[Turn]:
    """See ``math``."""
    return math.solve(row)
