"""What the service owes: every group from its submission to its end, and nothing twice.

Pure bookkeeping, no clock and no process. The journal is the truth for rollouts; the ledger only says which
groups there are. A group is *open* until it is delivered (the trainer acknowledged it), failed, or dropped
for a reason. Handing over gives it a cursor; whoever acknowledges a cursor acknowledges all up to it.

Invariant, checked with each dump: submitted = delivered + failed + dropped + open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

SUBMISSIONS = 10_000
"""Submissions that are remembered by their keys."""


@dataclass(slots=True)
class Entry:
    """An open group.

    ``id``: its name for good. ``number``: of its rollouts in the journal; another one when they are made again.
    ``source``, ``line``: where its row is (``rows``). ``cursor``: 0 until it is handed over. ``begun``: policy
    version when it was begun, -1 before. ``rerolls``: how often it was made again for being stale. ``observed``: its
    rewards count in the pass rates.
    """

    id: int
    number: int
    source: str
    line: int
    rollouts: int
    cursor: int = 0
    begun: int = -1
    rerolls: int = 0
    observed: bool = False


@dataclass(slots=True)
class Ledger:
    """See the module. ``submissions``: key of a submission -> its first group and how many there are."""

    submitted: int = 0
    delivered: int = 0
    failed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    rerolled: int = 0
    next_id: int = 0
    next_number: int = 0
    last_cursor: int = 0
    acknowledged: int = 0
    submissions: dict[str, tuple[int, int]] = field(default_factory=dict)
    open: dict[int, Entry] = field(default_factory=dict)

    def submit(self, source: str, line: int, rollouts: int) -> Entry:
        """A new group."""
        entry = Entry(self.next_id, self.next_number, source, line, rollouts)
        self.open[entry.id] = entry
        self.next_id += 1
        self.next_number += 1
        self.submitted += 1
        return entry

    def remember(self, key: str, ids: Sequence[int]) -> None:
        """That the submission called ``key`` became these groups, so that it can be repeated without harm."""
        self.submissions[key] = (ids[0], len(ids))
        if len(self.submissions) > SUBMISSIONS:
            del self.submissions[next(iter(self.submissions))]

    def hand_over(self, entry: Entry) -> int:
        """Its cursor; a group keeps the one it has."""
        if not entry.cursor:
            self.last_cursor += 1
            entry.cursor = self.last_cursor
        return entry.cursor

    def acknowledge(self, cursor: int) -> list[Entry]:
        """The trainer is done with everything handed over up to ``cursor``; returns what that ends."""
        ended = [entry for entry in self.open.values() if 0 < entry.cursor <= cursor]
        for entry in ended:
            del self.open[entry.id]
        self.delivered += len(ended)
        self.acknowledged = max(self.acknowledged, min(cursor, self.last_cursor))
        return ended

    def drop(self, entry: Entry, reason: str) -> None:
        """It ends without being delivered, for a reason."""
        del self.open[entry.id]
        self.dropped[reason] += 1

    def fail(self, entry: Entry) -> None:
        """It ends with nothing that could be delivered."""
        del self.open[entry.id]
        self.failed += 1

    def reroll(self, entry: Entry) -> None:
        """Its rollouts are made again, under another number; whoever was handed the old ones must not use them."""
        entry.number, entry.cursor, entry.begun, entry.observed = self.next_number, 0, -1, False
        entry.rerolls += 1
        self.next_number += 1
        self.rerolled += 1

    def handed(self, after: int) -> Iterator[Entry]:
        """Open groups whose cursor is beyond ``after``, in order of cursor."""
        beyond = (entry for entry in self.open.values() if entry.cursor > after)
        return iter(sorted(beyond, key=lambda entry: entry.cursor))

    def is_conserved(self) -> bool:
        """See the module."""
        return self.submitted == self.delivered + self.failed + sum(self.dropped.values()) + len(self.open)

    def dump(self) -> dict[str, Any]:
        """All of it, for orjson, which writes entries by itself. Raises AssertionError: groups were lost or doubled."""
        assert self.is_conserved(), "groups are lost or doubled"
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**plain, "dropped": dict(self.dropped), "open": list(self.open.values())}

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> Ledger:
        """What :meth:`dump` gave, read from JSON."""
        entries = (Entry(**entry) for entry in dumped["open"])
        submissions = {key: (first, count) for key, (first, count) in dumped["submissions"].items()}
        found = {"open": {entry.id: entry for entry in entries}, "dropped": Counter(dumped["dropped"])}
        return cls(**{**dumped, **found, "submissions": submissions})
