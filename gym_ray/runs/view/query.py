"""Which rollouts, in what order: a list's page out of an index of any size.

Invariant: a query costs one pass over the index's numbers, which is kept while the index does not change. A search
for text has to read what it searches, so it goes in the order of tasks, stops when its time is up, and says where.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_ray.runs.report.index import OUTCOMES, Index, Source
from gym_ray.types.errors import UserError

SORTS = ("task", "reward", "tokens", "turns", "newest")
MOST = 500
"""Longest page."""
SEARCH_S, SEARCH_ROWS = 1.0, 1024
"""A search answers after so many seconds; it looks at so many rollouts at a time."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What to list. Empty and None: any. ``reward_min``, ``reward_max``: both included; who has none is left out.
    ``sort``: from ``SORTS``; ``newest`` is the order of arrival, backwards."""

    environment: str = ""
    outcome: str = ""
    failure: str = ""
    reward_min: float | None = None
    reward_max: float | None = None
    task: int | None = None
    sort: str = "task"
    descending: bool = False

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Filter:
        """From a query string. Raises UserError for a number that is none, or an unknown order."""
        try:
            least, most = (float(given[name]) if given.get(name) else None for name in ("reward_min", "reward_max"))
            task = int(given["task"]) if given.get("task") else None
        except ValueError as error:
            raise UserError(f"reward_min, reward_max and task are numbers: {error}") from None
        sort = given.get("sort") or "task"
        if sort not in SORTS:
            raise UserError(f"sort={sort}: one of {', '.join(SORTS)}")
        environment, outcome, failure = (given.get(name, "") for name in ("environment", "outcome", "failure"))
        return cls(environment, outcome, failure, least, most, task, sort, given.get("descending") == "1")


def positions_of(index: Index, wanted: Filter) -> NDArray[np.intp]:
    """Positions that pass, in the wanted order; equal ones in the order of tasks."""
    entries = index.entries
    chosen = np.ones(len(entries), bool)
    if wanted.environment:
        chosen &= entries["environment"] == index.environments.find(wanted.environment)
    if wanted.outcome:
        chosen &= entries["outcome"] == (OUTCOMES.index(wanted.outcome) if wanted.outcome in OUTCOMES else 255)
    if wanted.failure:
        chosen &= entries["failure"] == index.failures.find(wanted.failure)
    if wanted.task is not None:
        chosen &= entries["task"] == wanted.task
    if wanted.reward_min is not None:
        chosen &= entries["reward"] >= wanted.reward_min
    if wanted.reward_max is not None:
        chosen &= entries["reward"] <= wanted.reward_max
    found = np.flatnonzero(chosen)
    ordered: NDArray[np.intp] = found[_order(entries[found], wanted)]
    return ordered


def _order(entries: NDArray[np.void], wanted: Filter) -> Any:
    if wanted.sort == "newest":
        return np.arange(len(entries))[::-1]
    if wanted.sort == "task":
        order = np.lexsort((entries["index"], entries["task"]))
        return order[::-1] if wanted.descending else order
    values = entries[wanted.sort].astype(np.float64)
    # lexsort puts NaN last; negated they stay there, so that rollouts without a reward never come first.
    return np.lexsort((entries["index"], entries["task"], -values if wanted.descending else values))


class Pages:
    """Pages of one source. The last query's positions are kept."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._last: tuple[Filter, int, NDArray[np.intp]] | None = None

    def positions(self, wanted: Filter) -> NDArray[np.intp]:
        """All that pass."""
        size = len(self._source.index)
        if self._last is None or self._last[:2] != (wanted, size):
            self._last = (wanted, size, positions_of(self._source.index, wanted))
        return self._last[2]

    def page(self, wanted: Filter, offset: int, limit: int) -> dict[str, Any]:
        """``{total, offset, rows}``."""
        found = self.positions(wanted)
        return {"total": len(found), "offset": offset, "rows": self._rows(found[offset : offset + min(limit, MOST)])}

    def search(self, wanted: Filter, text: str, begin: int, limit: int) -> dict[str, Any]:
        """``{total, searched, rows}``: rollouts that say ``text`` from the ``begin``-th that pass on; ``searched`` is
        where to go on, and ``total`` how many pass. At most ``limit`` rows and ``SEARCH_S`` seconds."""
        passing = self.positions(replace(wanted, sort="task", descending=False))
        until, hits = time.monotonic() + SEARCH_S, list[int]()
        while begin < len(passing) and len(hits) < min(limit, MOST) and time.monotonic() < until:
            piece = passing[begin : begin + SEARCH_ROWS]
            said = piece[self._source.matches(piece, text)][: min(limit, MOST) - len(hits)]
            hits += said.tolist()
            full = len(hits) >= min(limit, MOST)
            begin += int(np.flatnonzero(piece == said[-1])[0]) + 1 if full and len(said) else len(piece)
        return {"total": len(passing), "searched": begin, "rows": self._rows(np.array(hits, np.intp))}

    def _rows(self, positions: NDArray[np.intp]) -> list[dict[str, Any]]:
        chosen = positions.tolist()
        ids = self._source.task_ids(chosen)
        return [self._source.index.row(at, task_id) for at, task_id in zip(chosen, ids, strict=True)]
