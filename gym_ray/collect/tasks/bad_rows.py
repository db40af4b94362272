"""Rows that cannot be tasks, and what a run does about them.

``tasks.on_bad_row=stop``: all of them are counted, the first ones listed, and the run ends before its first
rollout. ``skip``: each goes to ``failures/bad_tasks.jsonl`` (``file``, ``line``, ``problems``) and the rest
is collected.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import IO, Any, Literal, Self

import orjson

from gym_ray.types.errors import UserError

RecordOpener = Callable[[], AbstractContextManager[IO[bytes]]]
LISTED = 50
"""Bad rows named in an error: enough to see the pattern, short enough to read."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """One bad row. ``problems``: ``field: message`` each."""

    address: str
    line: int
    problems: list[str]

    def lines(self) -> list[str]:
        """``file:line: field: message``, one per problem."""
        return [f"{self.address}:{self.line}: {problem}" for problem in self.problems]

    def json(self) -> bytes:
        """The record in ``failures/bad_tasks.jsonl``, newline included."""
        record = {"file": self.address, "line": self.line, "problems": self.problems}
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


class BadRows:
    """Counts bad rows. A context manager: leaving it raises what must stop the run, or keeps the record.

    ``open_record`` gives the sink for skipped rows; it is called for the first one only. It must let go of
    an unfinished record when an error passes through it.
    """

    def __init__(
        self,
        policy: Literal["stop", "skip"],
        open_record: Callable[[], AbstractContextManager[IO[bytes]]] | None = None,
    ) -> None:
        self._skip, self._open_record = policy == "skip", open_record
        self._record: IO[bytes] | None = None
        self._stack = ExitStack()
        self._first: list[BadRow] = []
        self.count = 0

    def __enter__(self) -> Self:
        self._stack.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
        if error[0] is None:
            self._check()

    @property
    def fatal(self) -> bool:
        """True once the run cannot go on."""
        return self.count > 0 and not self._skip

    def add(self, row: BadRow) -> None:
        """Take note of one bad row."""
        self.count += 1
        if len(self._first) < LISTED:
            self._first.append(row)
        if self._skip and self._open_record is not None:
            if self._record is None:
                self._record = self._stack.enter_context(self._open_record())
            self._record.write(row.json())

    def _check(self) -> None:
        if not self.fatal:
            return
        rows = "1 bad row" if self.count == 1 else f"{self.count:,} bad rows"
        lines = [f"tasks: {rows} (tasks.on_bad_row=skip would go on without)"]
        lines += [line for row in self._first for line in row.lines()]
        if self.count > LISTED:
            lines.append(f"… and {self.count - LISTED:,} more")
        raise UserError("\n".join(lines))
