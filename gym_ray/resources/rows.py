"""Task rows, parsed once for all rollouts of a group.

The rollouts of a group share one row object, so it is known by its identity; the cache keeps the row alive,
so an identity never stands for two rows.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class RowCache(Generic[V]):
    """``make(row)`` for the ``size`` rows used last."""

    def __init__(self, make: Callable[[dict[str, Any]], V], size: int = 512) -> None:
        self._make, self._size = make, size
        self._known: OrderedDict[int, tuple[dict[str, Any], V]] = OrderedDict()

    def __call__(self, row: dict[str, Any]) -> V:
        """The value of ``row``. Whatever ``make`` raises passes through and is not kept."""
        key = id(row)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found[1]
        value = self._make(row)
        self._known[key] = (row, value)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return value


@dataclass(slots=True)
class ParsedRow:
    """A row with its environment's ``Task``."""

    row: dict[str, Any]
    task: Any
    _raw: bytes | None = None

    @property
    def raw(self) -> bytes:
        """The row as one block of bytes: what goes to another process, and is known there by its value."""
        if self._raw is None:
            self._raw = dump_row(self.row)
        return self._raw


def dump_row(row: dict[str, Any]) -> bytes:
    """A row for another process of ours."""
    return pickle.dumps(row, pickle.HIGHEST_PROTOCOL)


def load_row(raw: bytes) -> dict[str, Any]:
    """The inverse of :func:`dump_row`."""
    row: dict[str, Any] = pickle.loads(raw)
    return row
