"""What the journal says: which rollouts are done, where their records lie, who killed whom.

A scan reads frame headers and skips payloads. It trusts a segment that was closed in peace (closing flushes
the disk); any other belonged to a writer that died, and its payloads are verified too, so a record that is
called done can be read. The first complete final record of a key wins, segments taken in order of name.

Damage never raises: a torn tail is what a killed writer leaves and costs nothing; a payload that fails its
checksum costs that record; a header that does costs the rest of its segment. Both are told in ``damage``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gym_ray.collect.journal.frames import (
    ALONE,
    INDEX_BITS,
    Kind,
    is_intact,
    make_key,
    open_file,
    read_payload,
    segment_of,
    walk,
)
from gym_ray.collect.rundir import JOURNAL, RunDir

WHERE_TYPE = np.dtype(
    [("offset", "<u8"), ("file", "<u4"), ("length", "<u4"), ("reward", "<f8"), ("outcome", "u1")],
)
"""Where a record lies (``file``: position in the index's ``files``; ``offset`` of its frame; ``length`` of its
payload in bytes) and what its header says."""
_READERS = 16
"""Objects fetched at once where a read is a round trip."""


class Deaths(NamedTuple):
    """Writers that died while this rollout ran: among others, or with nothing else running."""

    shared: int
    alone: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.shared + self.alone


@dataclass(slots=True)
class Records:
    """Records by key: two columns, 33 bytes each. ``keys``: see ``frames.make_key``. ``where``: WHERE_TYPE."""

    keys: NDArray[np.uint64]
    where: NDArray[np.void]

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, key: int) -> int | None:
        """Position of ``key`` (the keys are sorted), or None."""
        at = int(np.searchsorted(self.keys, np.uint64(key)))
        return at if at < len(self.keys) and self.keys[at] == key else None

    def take(self, chosen: NDArray[Any]) -> Records:
        """The records that a mask or a list of positions chooses."""
        return Records(self.keys[chosen], self.where[chosen])

    def first_per_key(self) -> Records:
        """Sorted by key; of equal keys the one that came first."""
        return self.take(np.unique(self.keys, return_index=True)[1])

    @classmethod
    def concatenate(cls, parts: Iterable[Records]) -> Records:
        """All of them, in order."""
        some = list(parts)
        keys = np.concatenate([np.empty(0, np.uint64), *(part.keys for part in some)])
        return cls(keys, np.concatenate([np.empty(0, WHERE_TYPE), *(part.where for part in some)]))


@dataclass(slots=True)
class JournalIndex:
    """The result of a scan. Records are sorted by key, one per key.

    ``files``: the journal's files, sorted. ``done``: final records. ``generated``: records that still wait
    for their group's verdict. ``duplicates``: further final records of keys in ``done``. ``starts``: keys
    started and not ended in dead segments (one entry per segment, sorted), ``starts_alone``: those alone.
    ``damage``: one line per damaged file.
    """

    run: RunDir
    files: list[str]
    done: Records
    generated: Records
    duplicates: int
    starts: NDArray[np.uint64]
    starts_alone: NDArray[np.uint64]
    damage: list[str]

    @property
    def segments(self) -> list[str]:
        """Names of the segments that were read."""
        return sorted({segment for name in self.files if (segment := segment_of(name))})

    def is_done(self, task: int, index: int) -> bool:
        """Whether the rollout has a final record."""
        return self.done.find(make_key(task, index)) is not None

    def are_done(self, tasks: NDArray[np.uint64], indexes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """:meth:`is_done` for many, element-wise."""
        keys = tasks.astype(np.uint64) << np.uint64(INDEX_BITS) | indexes.astype(np.uint64)
        return np.isin(keys, self.done.keys)

    def payload(self, task: int, index: int) -> bytes | None:
        """The final record of a rollout, None when it has none. Raises UserError when it is damaged."""
        return self._payload(self.done, make_key(task, index))

    def generated_payload(self, task: int, index: int) -> bytes | None:
        """The record of a rollout that waits for its group's verdict, or None."""
        return self._payload(self.generated, make_key(task, index))

    def deaths(self, task: int, index: int) -> Deaths:
        """How often a writer died with this rollout in the air."""
        key = make_key(task, index)
        alone = _count(self.starts_alone, key)
        return Deaths(_count(self.starts, key) - alone, alone)

    def _payload(self, records: Records, key: int) -> bytes | None:
        at = records.find(key)
        if at is None:
            return None
        name, offset = self.files[records.where["file"][at]], int(records.where["offset"][at])
        with open_file(self.run, name) as content:
            return read_payload(content, offset, name)


def scan(
    run: RunDir,
    *,
    owners: str = "",
    besides: Collection[str] = (),
    dead: Callable[[str], bool] | None = None,
    verify: bool = True,
) -> JournalIndex:
    """Read the journal of ``run``.

    ``owners``: only segments whose name begins so. ``besides``: segments to leave out. ``dead``: tells of a
    segment's name whether its writer is known to be gone (None: all are); only then do its unfinished starts
    count. ``verify``: check payloads of segments that dead writers did not close.
    """
    names = [name for name in run.names(JOURNAL, ".seg") if name.startswith(owners)]
    files = [name for name in names if (segment := segment_of(name)) and segment not in besides]
    parse = partial(_parse, run, verify=(lambda segment: dead is None or dead(segment)) if verify else None)
    if run.local:
        parts = [parse(number, name) for number, name in enumerate(files)]
    else:
        with ThreadPoolExecutor(_READERS) as pool:
            parts = list(pool.map(parse, range(len(files)), files))
    finals = Records.concatenate(part.finals for part in parts)
    waiting = Records.concatenate(part.generated for part in parts)
    done = finals.first_per_key()
    generated = waiting.take(~np.isin(waiting.keys, done.keys)).first_per_key()
    starts, starts_alone = _unfinished(files, parts, dead)
    damage = [f"{name}: {part.damage}" for name, part in zip(files, parts, strict=True) if part.damage]
    return JournalIndex(run, files, done, generated, len(finals) - len(done), starts, starts_alone, damage)


@dataclass(slots=True)
class _Part:
    """What one file holds. ``starts``: keys; they do not matter in a segment that was closed."""

    finals: Records
    generated: Records
    starts: NDArray[np.uint64]
    starts_alone: NDArray[np.uint64]
    closed: bool
    damage: str


def _parse(run: RunDir, number: int, name: str, *, verify: Callable[[str], bool] | None) -> _Part:
    with open_file(run, name) as content:
        headers, offsets, lost = walk(content)
        closed = bool(len(headers)) and bool(headers["kind"][-1] == Kind.CLOSE)
        intact = np.ones(len(headers), bool)
        if verify is not None and not closed and verify(segment_of(name) or name):
            given = headers["length"] > 0
            intact[given] = [is_intact(content, int(at)) for at in offsets[given]]
    bad = len(intact) - int(intact.sum())
    damage = [f"{bad} damaged records"] * (bad > 0) + [f"last {lost} bytes unreadable"] * (lost > 0)
    headers, offsets = headers[intact], offsets[intact]
    keys = headers["task"] << np.uint64(INDEX_BITS) | headers["index"].astype(np.uint64)
    kinds, alone = headers["kind"], headers["flags"] & ALONE > 0

    def records(kind: Kind) -> Records:
        chosen = kinds == kind
        where = np.empty(int(chosen.sum()), WHERE_TYPE)
        where["offset"], where["file"] = offsets[chosen], number
        for field in ("length", "reward", "outcome"):
            where[field] = headers[field][chosen]
        return Records(keys[chosen], where)

    started = (kinds == Kind.START) & (not closed)
    starts, starts_alone = keys[started], keys[started & alone]
    return _Part(records(Kind.ROLLOUT), records(Kind.GENERATED), starts, starts_alone, closed, ", ".join(damage))


def _count(keys: NDArray[np.uint64], key: int) -> int:
    """How often ``key`` is in the sorted ``keys``."""
    return int(np.searchsorted(keys, np.uint64(key), "right") - np.searchsorted(keys, np.uint64(key)))


def _unfinished(
    files: list[str], parts: list[_Part], dead: Callable[[str], bool] | None
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Keys that dead segments started and did not end, one entry per segment: all, and those alone."""
    segments: dict[str, list[_Part]] = {}
    for name, part in zip(files, parts, strict=True):
        segments.setdefault(segment_of(name) or name, []).append(part)
    every, alone = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for segment, its in segments.items():
        if any(part.closed for part in its) or (dead is not None and not dead(segment)):
            continue
        ended = np.concatenate([records.keys for part in its for records in (part.finals, part.generated)])
        every.append(np.setdiff1d(np.concatenate([part.starts for part in its]), ended))
        alone.append(np.setdiff1d(np.concatenate([part.starts_alone for part in its]), ended))
    return np.sort(np.concatenate(every)), np.sort(np.concatenate(alone))
