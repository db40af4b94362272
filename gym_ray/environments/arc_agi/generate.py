"""Grid puzzles with a hidden rule: one step on a small grid (easy), one on a larger (medium), two in a row (hard)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

from gym_ray.environments.arc_agi.grids import Grid
from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.items import assistant_message

Rule = Callable[[Grid], Grid]
SIZES = {Difficulty.EASY: (2, 3), Difficulty.MEDIUM: (3, 6), Difficulty.HARD: (3, 6)}
"""Least and greatest side of an input grid."""


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in NeMo Gym's ``arc_agi`` layout. See :func:`~gym_ray.environments.generate.distinct_rows`."""
    level = Difficulty(difficulty)
    return distinct_rows("arc_agi", count, seed, level, lambda rng: _row(rng, level))


def solve(row: Row) -> list[Turn]:
    """One turn: the right grid in a box."""
    return [[assistant_message(f"The output is \\boxed{{{json.dumps(row['expected_output'])}}}")]]


def _row(rng: random.Random, level: Difficulty) -> Row:
    rule = _rule(rng, level)
    *shown, asked = [_grid(rng, *SIZES[level]) for _ in range(3 if level is Difficulty.EASY else 4)]
    train = [{"input": grid, "output": rule(grid)} for grid in shown]
    return {
        "responses_create_params": prompt_params(prompt(train, asked)),
        "train": train,
        "test_input": asked,
        "expected_output": rule(asked),
    }


def prompt(train: list[dict[str, Grid]], asked: Grid) -> str:
    """Demonstrations and the question, rows as digits between blanks."""
    pairs = [
        f"Input {number}:\n{_text(pair['input'])}\nOutput {number}:\n{_text(pair['output'])}"
        for number, pair in enumerate(train, 1)
    ]
    return "\n\n".join(
        [
            "Each output grid is made from its input grid by one and the same rule.",
            *pairs,
            f"Test input:\n{_text(asked)}",
            "Put the test output in a box as a list of rows, like \\boxed{[[1,2],[3,4]]}.",
        ]
    )


def _text(grid: Grid) -> str:
    return "\n".join(" ".join(map(str, row)) for row in grid)


def _grid(rng: random.Random, least: int, greatest: int) -> Grid:
    """Two or three colours on black, never all of one colour."""
    height, width = rng.randint(least, greatest), rng.randint(least, greatest)
    colours = [0, *rng.sample(range(1, 10), rng.randint(2, 3))]
    while True:
        grid = [[rng.choice(colours) for _ in range(width)] for _ in range(height)]
        if len({cell for row in grid for cell in row}) > 1:
            return grid


def _rule(rng: random.Random, level: Difficulty) -> Rule:
    if level is Difficulty.EASY:
        return rng.choice([flip_sides, flip_ends, transpose, _recolour(rng)])
    if level is Difficulty.MEDIUM:
        return rng.choice([turn_right, half_turn, fall, tile, double, _recolour(rng), _frame(rng)])
    first = rng.choice([turn_right, half_turn, flip_sides, flip_ends, transpose, fall])
    second = rng.choice([fall, tile, double, _recolour(rng), _frame(rng)])
    return lambda grid: second(first(grid))


def flip_sides(grid: Grid) -> Grid:
    """Left and right swapped."""
    return [row[::-1] for row in grid]


def flip_ends(grid: Grid) -> Grid:
    """Top and bottom swapped."""
    return grid[::-1]


def transpose(grid: Grid) -> Grid:
    """Rows become columns."""
    return [list(column) for column in zip(*grid, strict=True)]


def turn_right(grid: Grid) -> Grid:
    """A quarter turn clockwise."""
    return transpose(grid[::-1])


def half_turn(grid: Grid) -> Grid:
    """Upside down."""
    return flip_sides(flip_ends(grid))


def fall(grid: Grid) -> Grid:
    """Colours sink to the bottom of their columns."""
    columns = ([cell for cell in column if cell] for column in zip(*grid, strict=True))
    return transpose([[0] * (len(grid) - len(cells)) + cells for cells in columns])


def tile(grid: Grid) -> Grid:
    """The grid four times, two by two."""
    return [row + row for row in grid] * 2


def double(grid: Grid) -> Grid:
    """Every cell becomes two by two cells."""
    wide = [[cell for cell in row for _ in range(2)] for row in grid]
    return [list(row) for row in wide for _ in range(2)]


def _recolour(rng: random.Random) -> Rule:
    """Every colour moves on by the same number; black stays."""
    step = rng.randint(1, 8)
    return lambda grid: [[(cell - 1 + step) % 9 + 1 if cell else 0 for cell in row] for row in grid]


def _frame(rng: random.Random) -> Rule:
    """A border of one colour around it."""
    colour = rng.randint(1, 9)
    return lambda grid: [
        [colour] * (len(grid[0]) + 2),
        *([colour, *row, colour] for row in grid),
        [colour] * (len(grid[0]) + 2),
    ]
