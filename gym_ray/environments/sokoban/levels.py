"""Making boards that can be solved, and solving them.

A board is made backwards: boxes begin on their targets and are pulled away by a wandering player. Playing that
backwards solves it, so every board has a solution.
"""

from __future__ import annotations

import random
from collections import deque

from gym_ray.environments.sokoban.board import MOVES, Board, Cell

TRIES = 200
"""Rooms tried before a size is given up."""


def make_board(rng: random.Random, height: int, width: int, boxes: int) -> Board:
    """A board that can be solved, no box on a target. The same one for the same state of ``rng``.

    Raises:
        ValueError: no room of this size has the space for so many boxes.
    """
    for _ in range(TRIES):
        floor = _room(rng, height, width)
        if len(floor) < 2 * boxes + 3:
            continue
        *targets, player = rng.sample(sorted(floor), boxes + 1)
        solved = Board(height, width, floor, frozenset(targets), frozenset(targets), player)
        found = _pulled_apart(rng, solved)
        if found is not None:
            return found
    raise ValueError(f"no room of {height} by {width} with {boxes} boxes was found")


def _room(rng: random.Random, height: int, width: int) -> frozenset[Cell]:
    """The floor that a random walk leaves, inside the outer walls."""
    y, x = rng.randint(1, height - 2), rng.randint(1, width - 2)
    floor = {(y, x)}
    for _ in range(2 * (height + width)):
        dy, dx = rng.choice(list(MOVES.values()))
        for _ in range(rng.randint(1, 3)):
            y, x = min(max(y + dy, 1), height - 2), min(max(x + dx, 1), width - 2)
            floor.add((y, x))
    return frozenset(floor)


def _pulled_apart(rng: random.Random, board: Board) -> Board | None:
    """A position that leads to ``board``, with every box off its targets. None when the walk found none."""
    boxes, player = set(board.boxes), board.player
    found: Board | None = None
    for _ in range(12 * len(board.floor)):
        dy, dx = rng.choice(list(MOVES.values()))
        ahead, behind = (player[0] + dy, player[1] + dx), (player[0] - dy, player[1] - dx)
        if ahead not in board.floor or ahead in boxes:
            continue
        if behind in boxes and rng.random() < 0.8:
            boxes = boxes - {behind} | {player}
        player = ahead
        if not boxes & board.targets:
            found = Board(board.height, board.width, board.floor, board.targets, frozenset(boxes), player)
    return found


def shortest_solution(board: Board, max_positions: int = 50_000) -> list[str] | None:
    """The fewest moves that solve ``board``; None when there are none among the first ``max_positions``."""
    came: dict[tuple[Cell, frozenset[Cell]], tuple[Board, str] | None] = {(board.player, board.boxes): None}
    queue = deque([board])
    while queue and len(came) < max_positions:
        position = queue.popleft()
        if position.solved:
            return _way(came, position)
        for move in MOVES:
            following = position.moved(move)
            key = (following.player, following.boxes)
            if key not in came:
                came[key] = (position, move)
                queue.append(following)
    return None


def _way(came: dict[tuple[Cell, frozenset[Cell]], tuple[Board, str] | None], end: Board) -> list[str]:
    moves: list[str] = []
    step = came[end.player, end.boxes]
    while step is not None:
        position, move = step
        moves.append(move)
        step = came[position.player, position.boxes]
    return moves[::-1]
