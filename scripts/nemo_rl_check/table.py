"""The table: which of NeMo-RL's functions ran on what of ours, with what result."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Row:
    """One function of NeMo-RL's. ``result``: what was seen; an assertion's text when it was not what it should be."""

    function: str
    fed: str
    result: str = ""
    failed: bool = False


@dataclass
class Table:
    """All rows, in the order in which they ran."""

    rows: list[Row] = field(default_factory=list)

    @contextlib.contextmanager
    def row(self, function: str, fed: str) -> Iterator[Row]:
        """Run one; what it raises is its result."""
        row = Row(function, fed)
        self.rows.append(row)
        try:
            yield row
        except Exception as error:
            traceback.print_exc(limit=-6)
            row.failed, row.result = True, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        print(f"{'FAILED' if row.failed else 'ok'}  {row.function}: {row.result}", flush=True)

    def markdown(self) -> str:
        """As docs have it."""
        lines = ["| NeMo-RL's | on | result |", "|---|---|---|"]
        for row in self.rows:
            result = f"**failed**: {row.result}" if row.failed else row.result
            lines.append(f"| `{row.function}` | {row.fed} | {result} |")
        return "\n".join(lines)

    @property
    def failed(self) -> int:
        """Rows that failed."""
        return sum(row.failed for row in self.rows)
