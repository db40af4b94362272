r"""How a grid is read out of a model's text.

What counts as a grid, and which of several counts, is NeMo Gym's ``arc_agi``: the first one in a ``\boxed{}``; with
no grid in a box, the first one anywhere. The search takes time linear in the text, whatever brackets it holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

Grid = list[list[int]]

_BOXED = re.compile(r"\\boxed\{([\d\s,\[\]]+)\}")
_RUN = re.compile(r"[\d\s,\[\]]+")
_OPENING = re.compile(r"\[\s*\[")
_CLOSING = re.compile(r"\]\s*\]")
_SPACE = re.compile(r"\s+")


def read_grid(text: str) -> Grid | None:
    r"""The answer: a list of rows of whole numbers, ``\boxed{[[1,2],[3,4]]}``. None when there is none.

    A box that holds something in brackets is the answer even if it cannot be read, so that a grid quoted elsewhere
    is not taken for it.
    """
    boxed = [content for content in _BOXED.findall(text) if _span(content) == (0, len(content))]
    candidates: Iterable[str] = boxed or _anywhere(text)
    return next((grid for candidate in candidates if (grid := _parse(candidate)) is not None), None)


def _anywhere(text: str) -> Iterable[str]:
    for run in _RUN.findall(text):
        span = _span(run)
        if span is not None:
            yield run[slice(*span)]


def _span(run: str) -> tuple[int, int] | None:
    """From the first ``[[`` to the last ``]]``, white space between the brackets allowed."""
    opening, closing = _OPENING.search(run), _CLOSING.search(run[::-1])
    if opening is None or closing is None or opening.end() >= len(run) - closing.end():
        return None
    return opening.start(), len(run) - closing.start()


def _parse(candidate: str) -> Grid | None:
    try:
        grid = json.loads(_SPACE.sub("", candidate))
    except (ValueError, RecursionError):
        return None
    rows = isinstance(grid, list) and all(isinstance(row, list) and all(type(n) is int for n in row) for row in grid)
    return grid if rows and grid and grid[0] else None
