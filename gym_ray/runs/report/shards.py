"""The shards of a finished run, by position: a pass over light columns, then row groups as they are asked for.

Memory: the index, and :data:`HELD` row groups. Files that are lines (JSONL shards, failures) are read through once
to find where lines begin.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute
from pyarrow import parquet as pq

from gym_ray.collect.rundir import FAILURES, ROLLOUTS, RunDir
from gym_ray.runs.groups import parts
from gym_ray.runs.report.index import ENTRY, OUTCOMES, Index
from gym_ray.runs.rollouts import COLUMNS, PROMPT, TOKENS, StoredRollout, from_batch, from_failure, from_line
from gym_ray.types.errors import UserError

HELD = 3
"""Row groups kept decoded."""
_LIGHT = ["task_number", "rollout_index", "environment", "outcome", "reward", "failure_kind", "num_turns"]
_LIGHT += ["usage.completion_tokens"]
_SEARCHED = ["task_id", PROMPT, "response", "extra", "failure_reason"]
_BATCH_ROWS, _PIECE = 65_536, 1 << 16


@dataclass(frozen=True, slots=True)
class _File:
    """One file. ``starts``: first row of each row group, and the end; empty for lines."""

    path: str
    starts: NDArray[np.int64]

    @property
    def is_failures(self) -> bool:
        return self.path.startswith(FAILURES)


class Shards:
    """The rollouts of a run that has shards. Raises UserError when one is damaged."""

    def __init__(self, run: RunDir) -> None:
        self.index, self._run, self._files = Index(), run, list[_File]()
        self._held: OrderedDict[tuple[int, int, bool], pa.Table] = OrderedDict()
        for part in parts(run):
            entries = np.concatenate([np.empty(0, ENTRY), *self._part(part)])
            self.index.append(entries[np.lexsort((entries["index"], entries["task"]))])

    def _part(self, part: str) -> Iterator[NDArray[np.void]]:
        table, lines, lost = f"{ROLLOUTS}/{part}.parquet", f"{ROLLOUTS}/{part}.jsonl", f"{FAILURES}/{part}.jsonl"
        if self._run.exists(table):
            yield from self._columns(table)
        elif self._run.exists(lines):
            yield self._lines(lines, from_line)
        if self._run.exists(lost):
            yield self._lines(lost, from_failure)

    def _columns(self, path: str) -> Iterator[NDArray[np.void]]:
        with self._open(path) as file:
            groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
            number, at = len(self._files), 0
            self._files.append(_File(path, np.cumsum([0, *groups])))
            for batch in file.iter_batches(_BATCH_ROWS, columns=_LIGHT):
                yield self._entries(batch, number, at)
                at += batch.num_rows

    def _entries(self, batch: pa.RecordBatch, file: int, at: int) -> NDArray[np.void]:
        entries = np.empty(batch.num_rows, ENTRY)
        column = batch.column
        entries["task"], entries["index"] = column("task_number").to_numpy(), column("rollout_index").to_numpy()
        entries["turns"] = column("num_turns").to_numpy()
        entries["reward"] = column("reward").to_numpy(zero_copy_only=False)
        entries["tokens"] = column("usage").field("completion_tokens").to_numpy()
        entries["environment"] = _coded(column("environment"), self.index.environments.code)
        entries["outcome"] = _coded(column("outcome"), OUTCOMES.index)
        entries["failure"] = _coded(column("failure_kind").fill_null(""), self.index.failures.code)
        entries["file"], entries["at"] = file, np.arange(at, at + batch.num_rows)
        return entries

    def _lines(self, path: str, parse: Callable[[Any], StoredRollout]) -> NDArray[np.void]:
        number, at, found = len(self._files), 0, []
        self._files.append(_File(path, np.empty(0, np.int64)))
        with self._run.filesystem.open_input_stream(self._run.path(path)) as source:
            for line in _split(source):
                found.append(self.index.entry(parse(self._parsed(line, path)), number, at))
                at += len(line)
        return np.array(found, ENTRY)

    def _parsed(self, line: bytes, path: str) -> Any:
        try:
            return orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise UserError(f"{self._run.path(path)}: damaged: {error}") from error

    def _open(self, path: str) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._run.path(path), filesystem=self._run.filesystem)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self._run.path(path)}: damaged: {' '.join(str(error).split())[:300]}") from error

    def read(self, position: int) -> StoredRollout:
        """See :class:`~gym_ray.runs.report.index.Source`."""
        entry = self.index.entries[position]
        file = self._files[entry["file"]]
        if not len(file.starts):
            row = self._parsed(self._line(file.path, int(entry["at"])), file.path)
            return from_failure(row) if file.is_failures else from_line(row, tokens=True)
        group, row = self._place(file, int(entry["at"]))
        table = self._group(int(entry["file"]), group, whole=True).slice(row, 1)
        return next(from_batch(table.combine_chunks().to_batches()[0]))

    @staticmethod
    def _place(file: _File, at: int) -> tuple[int, int]:
        """Row group of a row, and its place there."""
        group = int(np.searchsorted(file.starts, at, "right")) - 1
        return group, at - int(file.starts[group])

    def _group(self, file: int, group: int, *, whole: bool) -> pa.Table:
        """A row group: ``whole``, or what lists and search need."""
        key = (file, group, whole)
        if key not in self._held:
            columns = [*COLUMNS, PROMPT, *TOKENS] if whole else _SEARCHED
            with self._open(self._files[file].path) as source:
                self._held[key] = source.read_row_group(group, columns=columns)
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key]

    def _line(self, path: str, at: int) -> bytes:
        """The line that begins at byte ``at``."""
        with self._run.filesystem.open_input_file(self._run.path(path)) as source:
            source.seek(at)
            return next(_split(source), b"")

    def task_ids(self, positions: Sequence[int]) -> list[str]:
        """See :class:`~gym_ray.runs.report.index.Source`."""
        columns: dict[tuple[int, int], pa.ChunkedArray] = {}
        found = []
        for position in positions:
            entry = self.index.entries[position]
            number, file = int(entry["file"]), self._files[entry["file"]]
            if not len(file.starts):
                found.append(self.read(position).task_id)
                continue
            group, row = self._place(file, int(entry["at"]))
            if (number, group) not in columns:
                with self._open(file.path) as source:
                    columns[number, group] = source.read_row_group(group, columns=["task_id"]).column(0)
            found.append(columns[number, group][row].as_py())
        return found

    def matches(self, positions: NDArray[np.intp], text: str) -> NDArray[np.bool_]:
        """See :class:`~gym_ray.runs.report.index.Source`."""
        needle = orjson.dumps(text).decode()[1:-1]
        found = np.zeros(len(positions), bool)
        entries = self.index.entries[positions]
        for number in np.unique(entries["file"]):
            mine = np.flatnonzero(entries["file"] == number)
            file, at = self._files[number], entries["at"][mine].astype(np.int64)
            if not len(file.starts):
                lines = (self._line(file.path, int(one)) for one in at)
                found[mine] = [needle.lower() in line.decode(errors="replace").lower() for line in lines]
                continue
            groups = np.searchsorted(file.starts, at, "right") - 1
            for group in np.unique(groups):
                its = groups == group
                found[mine[its]] = self._says(int(number), int(group), needle)[at[its] - file.starts[group]]
        return found

    def _says(self, file: int, group: int, needle: str) -> NDArray[np.bool_]:
        """Of each row of a group whether it has ``needle``, which is escaped as JSON text is."""
        table, found = self._group(file, group, whole=False), None
        for name in _SEARCHED:
            said = compute.match_substring(table.column(name), needle, ignore_case=True).fill_null(False)
            found = said if found is None else compute.or_(found, said)
        assert found is not None
        return np.asarray(found.to_numpy(), bool)


def _coded(column: pa.Array, code: Callable[[str], int]) -> NDArray[np.int64]:
    """A text column as numbers, each different text looked up once."""
    coded = column.dictionary_encode()
    codes = np.array([code(text) for text in coded.dictionary.to_pylist()], np.int64)
    return codes[coded.indices.to_numpy()] if len(codes) else np.zeros(len(column), np.int64)


def _split(source: Any) -> Iterator[bytes]:
    """Lines of a stream, with their ends, from where it stands."""
    rest = b""
    while piece := source.read(_PIECE):
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest
