"""One curve: how a cost grows with a size, and at which size it reaches its limit."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Curve:
    """``rows``: one per size, ``x`` first, then the ``columns``. ``name``: for programs and pictures."""

    name: str
    title: str
    x: str
    columns: list[str]
    rows: list[list[float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, size: float, *values: float) -> None:
        """One size."""
        self.rows.append([size, *values])

    def column(self, number: int = 0) -> list[float]:
        """The values of one column, by size."""
        return [row[1 + number] for row in self.rows]

    def slope(self, number: int = 0) -> float:
        """Growth of one column per unit of ``x``, between the smallest and the largest size."""
        first, last = self.rows[0], self.rows[-1]
        return (last[1 + number] - first[1 + number]) / (last[0] - first[0])

    def tree(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self)

    def table(self) -> str:
        """As text."""
        cells = [[self.x, *self.columns], *([f"{row[0]:,g}", *map(shown, row[1:])] for row in self.rows)]
        widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        return "\n".join([f"{self.name}: {self.title}", *lines, *(f"  {note}" for note in self.notes), ""])


def shown(value: float) -> str:
    """Three digits that matter."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def cpu_of(work: Callable[[], Any]) -> float:
    """CPU seconds of this thread that ``work`` takes."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def cpu_seconds(pid: int) -> float:
    """User and system seconds that a process has used (proc(5))."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int | str = "self") -> int:
    """Bytes of a process in memory (proc(5))."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
