"""The journal of a run in progress, by position: frames are indexed as they appear.

Invariants: a frame is looked at once; a torn tail is looked at again when there is more; of equal keys the first
final record counts, as in shards. Memory: the index, and some 80 bytes for each rollout's key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from gym_ray.collect.journal.frames import (
    FILE_MAGIC,
    FRAME_BYTES,
    INDEX_BITS,
    Kind,
    is_intact,
    open_file,
    read_payload,
    segment_of,
    walk,
)
from gym_ray.collect.journal.record import decode
from gym_ray.collect.rundir import JOURNAL, RunDir
from gym_ray.runs.report.index import ENTRY, Index
from gym_ray.runs.rollouts import StoredRollout, from_record

PIECE = 64 << 20
"""Bytes of one file looked at in one go."""


class Tail:
    """The final records of a journal. :meth:`refresh` finds what came since."""

    def __init__(self, run: RunDir) -> None:
        self.index, self._run = Index(), run
        self._names: list[str] = []
        self._ends: dict[str, int] = {}
        self._done: set[int] = set()
        self._open: dict[int, str] = {}

    @property
    def in_flight(self) -> int:
        """Rollouts begun and not ended, as far as the journal says."""
        return len(self._open)

    def refresh(self) -> bool:
        """Look for new records; whether there were any."""
        before = len(self.index)
        for name in self._run.names(JOURNAL, ".seg"):
            # Where files cannot be appended to, one that was read is read for good.
            if segment_of(name) and (self._run.local or name not in self._ends):
                self._read(name)
        return len(self.index) > before

    def _read(self, name: str) -> None:
        end = self._ends.setdefault(name, len(FILE_MAGIC))
        with open_file(self._run, name) as content:
            while True:
                # walk() wants a file's beginning, so that a piece from the middle is given one.
                piece = memoryview(FILE_MAGIC + bytes(content[end : end + PIECE]))
                headers, offsets, _ = walk(piece)
                if not len(headers):
                    break
                base = end - len(FILE_MAGIC)
                self._take(name, headers, offsets.astype(np.int64) + base, content)
                end = base + int(offsets[-1]) + _frame_bytes(headers[-1])
        self._ends[name] = end

    def _take(self, name: str, headers: NDArray[np.void], offsets: NDArray[np.int64], content: memoryview) -> None:
        keys = (headers["task"] << np.uint64(INDEX_BITS) | headers["index"].astype(np.uint64)).tolist()
        entries = list(self._entries(name, keys, headers["kind"].tolist(), offsets.tolist(), content))
        self.index.append(np.array(entries, ENTRY))

    def _entries(
        self, name: str, keys: list[int], kinds: list[int], offsets: list[int], content: memoryview
    ) -> Iterator[tuple[object, ...]]:
        file = self._file(name)
        for key, kind, offset in zip(keys, kinds, offsets, strict=True):
            if kind == Kind.START and key not in self._done:
                self._open[key] = name
            elif kind == Kind.CLOSE:
                self._open = {one: where for one, where in self._open.items() if where != name}
            elif kind == Kind.ROLLOUT and key not in self._done and is_intact(content, offset):
                self._done.add(key)
                self._open.pop(key, None)
                yield self.index.entry(from_record(decode(read_payload(content, offset, name))), file, offset)

    def _file(self, name: str) -> int:
        if name not in self._names:
            self._names.append(name)
        return self._names.index(name)

    def read(self, position: int) -> StoredRollout:
        """See :class:`~gym_ray.runs.report.index.Source`."""
        return from_record(decode(self._payload(position)))

    def _payload(self, position: int) -> bytes:
        entry = self.index.entries[position]
        name = self._names[entry["file"]]
        with open_file(self._run, name) as content:
            return read_payload(content, int(entry["at"]), name)

    def task_ids(self, positions: Sequence[int]) -> list[str]:
        """See :class:`~gym_ray.runs.report.index.Source`."""
        return [self.read(position).task_id for position in positions]

    def matches(self, positions: NDArray[np.intp], text: str) -> NDArray[np.bool_]:
        """See :class:`~gym_ray.runs.report.index.Source`."""
        needle = orjson.dumps(text).decode()[1:-1].lower()
        said = (self._payload(int(position)).decode(errors="ignore").lower() for position in positions)
        return np.array([needle in text for text in said], bool)


def _frame_bytes(header: np.void) -> int:
    return FRAME_BYTES + int(header["length"])
