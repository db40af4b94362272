"""The files of a shard: rows go in, a named, counted and hashed file comes out.

A file is made with its first rows (no rows, no file) and appears under its name when the surrounding
``ExitStack`` unwinds without an error. :meth:`Output.made` tells of it after that.
"""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Generic, TypeVar

from pyarrow import parquet as pq

from gym_ray.collect.output.rows import Row
from gym_ray.collect.output.table import ROLLOUT_SCHEMA, to_table
from gym_ray.collect.rundir import RunDir

T = TypeVar("T")
"""What one row is made from."""

_FEW_VALUES = [
    *("task_id", "environment", "agent", "outcome", "failure_kind", "finish_reason", "responses_create_params"),
    *("token_ids.list.element", "loss_mask.list.element", "policy_version.list.element"),
    *("messages.list.element.role", "messages.list.element.content", "timings.key_value.key"),
]
"""Parquet columns that gain from a dictionary; in others it costs time and saves nothing."""
_SKIPPABLE = ["task_id", "task_number", "rollout_index", "environment", "outcome", "reward", "mask_sample"]
"""Parquet columns whose statistics let readers skip row groups."""


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One file of a shard. ``path``: within the run directory. ``sha256``: of its content, hexadecimal."""

    path: str
    rows: int
    bytes: int
    sha256: str


class Output(ABC, Generic[T]):
    """A file in the making."""

    def __init__(self, run: RunDir, stack: contextlib.ExitStack, path: str) -> None:
        self._run, self._stack, self._path = run, stack, path
        self._sink: _Counted | None = None
        self._rows = 0

    def write(self, rows: list[T]) -> None:
        """Add rows. Raises UserError."""
        if not rows:
            return
        if self._sink is None:
            self._sink = _Counted(self._stack.enter_context(self._run.create_file(self._path)))
            self._open(self._sink)
        self._rows += len(rows)
        with self._run.writing(self._path):
            self._put(self._sink, rows)

    def made(self) -> ShardFile | None:
        """The finished file, or None when there was no row for it."""
        if self._sink is None:
            return None
        return ShardFile(self._path, self._rows, self._sink.bytes, self._sink.hash.hexdigest())

    @abstractmethod
    def _open(self, sink: _Counted) -> None: ...

    @abstractmethod
    def _put(self, sink: _Counted, rows: list[T]) -> None: ...


class LineFile(Output[T]):
    """One line per row, as ``render`` makes it (newline included)."""

    def __init__(self, run: RunDir, stack: contextlib.ExitStack, path: str, render: Callable[[T], bytes]) -> None:
        super().__init__(run, stack, path)
        self._render = render

    def _open(self, sink: _Counted) -> None:
        pass

    def _put(self, sink: _Counted, rows: list[T]) -> None:
        sink.write(b"".join(map(self._render, rows)))


class ParquetFile(Output[Row]):
    """One row group per :meth:`write`, compressed with zstd."""

    def _open(self, sink: _Counted) -> None:
        options = {"compression": "zstd", "use_dictionary": _FEW_VALUES, "write_statistics": _SKIPPABLE}
        self._writer = self._stack.enter_context(pq.ParquetWriter(sink, ROLLOUT_SCHEMA, **options))

    def _put(self, sink: _Counted, rows: list[Row]) -> None:
        self._writer.write_table(to_table(rows))


class _Counted:
    """The file object that rows go through on their way to a sink: it counts and hashes."""

    closed = False

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink, self.hash, self.bytes = sink, hashlib.sha256(), 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._sink.write(data)
        self.hash.update(data)
        self.bytes += size
        return size

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        """Nothing is held back here."""
