"""Sokoban: boards as text, moves, levels that can be solved, and what a text means."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gym_ray.environments.sokoban import Sokoban
from gym_ray.environments.sokoban.board import MOVES, SYMBOLS, Board
from gym_ray.environments.sokoban.levels import make_board, shortest_solution
from gym_ray.environments.sokoban.server import read_move
from tests.environments.play import play, said

SERVER = "gym_ray.environments.sokoban:Sokoban"
PARAMS = {"responses_create_params": {"input": "Solve it."}}
LEVEL = "######\n#_X_O#\n#_P_√#\n######"


def test_a_board_is_its_text() -> None:
    board = Board.read(LEVEL)
    assert str(board) == LEVEL
    assert (board.placed, board.solved, board.player) == (1, False, (2, 2))
    assert str(board.moved("Right").moved("Right")) == LEVEL.replace("P_√", "_P√")
    assert str(Board.read("#####\n#PO_#\n#X__#\n#####").moved("Right")) == "#####\n#_S_#\n#X__#\n#####"


@pytest.mark.parametrize(
    ("level", "problem"),
    [
        ("#P?XO#", "no symbol"),
        ("#XO#", "one player"),
        ("#PPXO#", "one player"),
        ("#PX#", "as many boxes"),
        ("#P_#", "at least one"),
        ("", "one player"),
    ],
)
def test_bad_boards(level: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Sokoban.Task.model_validate(PARAMS | {"level": level})


@given(st.integers(0, 10**9), st.integers(4, 8), st.integers(5, 8))
@settings(max_examples=25, deadline=None)
def test_made_boards_can_be_solved(seed: int, height: int, width: int) -> None:
    board = make_board(random.Random(seed), height, width, 1)
    assert board == make_board(random.Random(seed), height, width, 1)
    assert board == Board.read(str(board))
    assert not board.placed
    moves = shortest_solution(board)
    assert moves
    for move in moves:
        after = board.moved(move)
        assert after is not board
        board = after
    assert board.solved


def test_what_cannot_be_solved() -> None:
    assert shortest_solution(Board.read("#####\n#X_O#\n#P__#\n#####")) is None
    with pytest.raises(ValueError, match="4 by 4"):
        make_board(random.Random(0), 4, 4, 1)


@pytest.mark.parametrize(
    ("text", "move"),
    [
        ("<action>Up</action>", "Up"),
        ("<ACTION> left </ACTION>", "Left"),
        ("<action>2</action>", "Down"),
        ("up or <action>right</action>", "Right"),
        ("First down, then up", "Down"),
        ("move 4", "Right"),
        ("<action>5</action>", None),
        ("upward leftover 14", None),
        ("", None),
    ],
)
def test_read_move(text: str, move: str | None) -> None:
    assert read_move(text) == move


@given(st.lists(st.one_of(st.text(max_size=10), st.sampled_from([*MOVES, "<action>", *SYMBOLS])), max_size=8))
async def test_any_text_is_a_step(texts: list[str]) -> None:
    reward, trajectory = await play(SERVER, PARAMS | {"level": LEVEL}, said(*texts))
    assert reward.value == pytest.approx(sum(trajectory.step_rewards))
    assert Board.read(reward.extra["info"]["board"]).floor == Board.read(LEVEL).floor


async def test_a_row_without_a_level_has_the_seed_s() -> None:
    boards = [(await play(SERVER, PARAMS | {"seed": seed, "dim_room": [6, 4]}, []))[1].items for seed in (3, 3, 4)]
    assert boards[0] == boards[1] != boards[2]
