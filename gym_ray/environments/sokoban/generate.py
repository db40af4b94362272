"""Sokoban boards: one box and at most six moves (easy), one box in a larger room (medium), two boxes (hard)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.environments.sokoban.board import Board
from gym_ray.environments.sokoban.levels import make_board, shortest_solution
from gym_ray.types.errors import UserError
from gym_ray.types.items import assistant_message

RULES = (
    "You play Sokoban: push every box onto a target. # is wall, _ floor, O a target, X a box, √ a box on a target, "
    "P you, S you on a target. You can push one box at a time and pull none. Answer each board with one move: "
    "<action>Up</action>, <action>Down</action>, <action>Left</action> or <action>Right</action>."
)


@dataclass(frozen=True, slots=True)
class Level:
    """Sides of the room, boxes, and how many moves the shortest solution may take."""

    sides: tuple[int, int]
    boxes: int
    moves: tuple[int, int]


LEVELS = {
    Difficulty.EASY: Level((5, 6), 1, (1, 6)),
    Difficulty.MEDIUM: Level((6, 8), 1, (5, 20)),
    Difficulty.HARD: Level((6, 8), 2, (10, 40)),
}


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows with their board as ``level``; all have the same prompt, the board comes with the reset."""
    level = LEVELS[Difficulty(difficulty)]
    return distinct_rows("sokoban", count, seed, difficulty, lambda rng: _row(rng, level), lambda row: row["level"])


def solve(row: Row) -> list[Turn]:
    """One turn per move of a shortest solution.

    Raises:
        UserError: the row's board has none.
    """
    moves = shortest_solution(Board.read(row["level"]))
    if moves is None:
        raise UserError("this board cannot be solved")
    return [[assistant_message(f"<action>{move}</action>")] for move in moves]


def _row(rng: random.Random, level: Level) -> Row:
    while True:
        height, width = rng.randint(*level.sides), rng.randint(*level.sides)
        board = make_board(rng, height, width, level.boxes)
        moves = shortest_solution(board, max_positions=20_000)
        if moves is not None and level.moves[0] <= len(moves) <= level.moves[1]:
            return {
                "responses_create_params": prompt_params("Solve the board.", RULES),
                "level": str(board),
                "dim_room": [height, width],
                "num_boxes": level.boxes,
            }
