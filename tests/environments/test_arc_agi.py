"""Grid puzzles: which grid of a text counts, and texts that want to be slow."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gym_ray.environments.arc_agi import ArcAgi
from gym_ray.environments.arc_agi.generate import fall, half_turn, tile, turn_right
from gym_ray.environments.arc_agi.grids import read_grid


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        (r"\boxed{[[1,2],[3,4]]}", [[1, 2], [3, 4]]),
        ("\\boxed{[ [1,\n2], [3, 4] ]}", [[1, 2], [3, 4]]),
        (r"\boxed{[[1]]} \boxed{[[2]]}", [[1]]),
        (r"[[1]] and \boxed{[[2]]}", [[2]]),
        (r"\boxed{[[1],]} [[2]]", [[2]]),
        (r"\boxed{[[1,]]} [[2]]", None),
        ("so [[1, 2]] or [[3]]", [[1, 2]]),
        ("in [1] the row [[1, 2]]", [[1, 2]]),
        ("[[1, 2]", None),
        ("[[]]", None),
        ("[[1.5]]", None),
        ("[1, 2]", None),
        ("[[[1]]]", None),
        ("", None),
    ],
)
def test_read_grid(text: str, grid: list[list[int]] | None) -> None:
    assert read_grid(text) == grid


@pytest.mark.parametrize(
    "hostile", ["[" * 200_000, "[ " * 100_000, "\\boxed{[[" * 30_000, "[[1" * 60_000, "]]" * 100_000]
)
def test_long_texts_take_linear_time(hostile: str) -> None:
    began = time.process_time()
    assert read_grid(hostile) is None
    assert time.process_time() - began < 2


PIECES = st.sampled_from(["[", "]", "[[", "]]", "\\boxed{", "}", "1", ",", " ", "\n", "\u0661", "x", "\ud800"])


@given(st.lists(PIECES, max_size=30))
def test_any_text_is_read(pieces: list[str]) -> None:
    grid = read_grid("".join(pieces))
    assert grid is None or all(isinstance(cell, int) for row in grid for cell in row)


def test_an_answer_is_needed() -> None:
    with pytest.raises(ValidationError, match="at least one row"):
        ArcAgi.Task.model_validate({"responses_create_params": {"input": "?"}, "expected_output": []})


def test_rules() -> None:
    grid = [[1, 0], [2, 3]]
    assert turn_right(grid) == [[2, 1], [3, 0]]
    assert half_turn(grid) == [[3, 2], [0, 1]]
    assert fall([[1, 0], [0, 3]]) == [[0, 0], [1, 3]]
    assert tile([[1]]) == [[1, 1], [1, 1]]
