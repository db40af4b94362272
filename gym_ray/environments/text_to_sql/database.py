"""SQLite databases that queries of a model may be run on, under a deadline and within memory.

A database is an image in memory, made once from a script and loaded anew for each statement, or a file that is only
read, so nothing that one statement does is seen by the next. An authorizer refuses whatever reaches beyond it (other
files, pragmas, extensions), and writing, unless asked for. Every few thousand steps of SQLite's machine the deadline
is looked at.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

Row = tuple[object, ...]
MAX_ROWS = 100_000
"""A result with more rows is no answer."""
MAX_VALUE_BYTES = 4 << 20
MAX_RESULT_BYTES = 64 << 20
"""Of all text in a result: it is Python's memory, not SQLite's."""
MAX_PATTERN = 200
"""Longest pattern of LIKE or GLOB: matching may take exponential time, where no step is counted."""
HEAP_BYTES = 256 << 20
"""All of SQLite's memory in this process."""
STEPS = 5000
_READING = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_REFUSED = {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA}


class SqlError(Exception):
    """The statement failed, was refused, or returned too much."""


class SqlTimeout(Exception):
    """The statement did not end by its deadline."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``rows``: of a query. ``tables``: for writing statements, all rows of all tables afterwards."""

    rows: list[Row]
    tables: dict[str, list[Row]]


@lru_cache(maxsize=64)
def image_of_script(script: str) -> bytes:
    """A database from CREATE and INSERT statements of a task row.

    Raises:
        SqlError: the script fails.
    """
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(script)
        return connection.serialize()
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise SqlError(str(error)) from None
    finally:
        connection.close()


def run(database: bytes | Path, sql: str, timeout_s: float, writing: bool = False) -> Outcome:
    """Run ``sql`` on a copy of an image, or on a file, which is only read. ``writing``: it may be several statements,
    and change data.

    Raises:
        SqlError, SqlTimeout: see there.
    """
    try:
        connection = _open(database, writing)
    except sqlite3.Error as error:
        raise SqlError(str(error)) from None
    late = time.monotonic() + timeout_s
    connection.set_progress_handler(lambda: time.monotonic() > late, STEPS)
    try:
        if writing:
            connection.executescript(sql)
            return Outcome([], _tables(connection))
        return Outcome(_fetch(connection.execute(sql)), {})
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
        if time.monotonic() > late:
            raise SqlTimeout(f"not done in {timeout_s:g} s") from None
        raise SqlError(str(error)) from None
    finally:
        connection.close()


def _open(database: bytes | Path, writing: bool) -> sqlite3.Connection:
    if isinstance(database, Path):
        connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    else:
        connection = sqlite3.connect(":memory:")
        connection.deserialize(database)
    connection.execute(f"PRAGMA hard_heap_limit = {HEAP_BYTES}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0)
    connection.text_factory = lambda data: data.decode(errors="ignore")
    connection.set_authorizer(_writer if writing else _reader)
    return connection


def _reader(action: int, first: str | None, second: str | None, *rest: object) -> int:
    allowed = action in _READING and second != "load_extension"
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _writer(action: int, first: str | None, second: str | None, *rest: object) -> int:
    refused = action in _REFUSED or second == "load_extension"
    return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK


def _fetch(cursor: sqlite3.Cursor) -> list[Row]:
    rows: list[Row] = []
    size = 0
    for row in cursor:
        rows.append(row)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(rows) > MAX_ROWS or size > MAX_RESULT_BYTES:
            raise SqlError(f"more than {MAX_ROWS} rows or {MAX_RESULT_BYTES >> 20} MiB")
    return rows


def _tables(connection: sqlite3.Connection) -> dict[str, list[Row]]:
    names = [
        name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    ]
    quoted = {name: name.replace('"', '""') for name in names}
    return {name: _fetch(connection.execute(f'SELECT * FROM "{quoted[name]}"')) for name in names}
