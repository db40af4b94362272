"""The office: a small database that every rollout starts from, and each rollout's own changes to it.

Invariants: the base rows are shared and never written. A session holds only what it changed, as
``{"changes": {table: {id: row or None}}}`` (None: deleted), so seeding costs nothing, a session is small and
picklable, and the final state is compared by comparing changes. Every value in a row is text or a whole number.

``database.json`` is made by :mod:`gym_ray.environments.workplace.build`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson

Record = dict[str, str | int]
Session = dict[str, Any]
TABLES = {"people": "p", "emails": "m", "events": "e", "tasks": "t", "customers": "c", "expenses": "x"}
"""Tables, and the letter that their ids begin with."""
NOW = "2026-03-02 09:00"
"""The moment at which every rollout takes place, a Monday."""
PAGE = 10
"""Records that a search shows at once."""
_BETWEEN_WORDS = re.compile(r"[^\w-]+")


class Refused(Exception):
    """The office cannot do what a tool was asked for. The message is for the model."""


@cache
def base() -> dict[str, dict[str, Record]]:
    """Table -> id -> record: the state before any rollout. Never write to it."""
    tables: dict[str, dict[str, Record]] = orjson.loads(Path(__file__).with_name("database.json").read_bytes())
    return tables


def new_session() -> Session:
    """A session that has changed nothing."""
    return {"changes": {name: {} for name in TABLES}}


class Table:
    """One table as one session sees it."""

    __slots__ = ("_base", "_changes", "name")

    def __init__(self, session: Session, name: str) -> None:
        self.name = name
        self._base = base()[name]
        self._changes: dict[str, Record | None] = session["changes"][name]

    def __iter__(self) -> Iterator[tuple[str, Record]]:
        """Ids and records, oldest first."""
        changes = self._changes
        for key, record in self._base.items():
            current = changes.get(key, record)
            if current is not None:
                yield key, current
        for key, added in changes.items():
            if added is not None and key not in self._base:
                yield key, added

    def get(self, key: str) -> Record:
        """The record.

        Raises:
            Refused: there is none with this id.
        """
        record = self._changes.get(key, self._base.get(key))
        if record is None:
            raise Refused(f"there is no {self.name[:-1]} {key!r}")
        return record

    def add(self, **fields: str | int) -> str:
        """Store a new record and return its id. Ids count up and are never used twice."""
        added = sum(key not in self._base for key in self._changes)
        key = f"{TABLES[self.name]}{len(self._base) + added + 1:03d}"
        self._changes[key] = fields
        return key

    def update(self, key: str, **fields: str | int) -> None:
        """Change some fields. Raises ``Refused`` like :meth:`get`."""
        self._changes[key] = self.get(key) | fields

    def delete(self, key: str) -> None:
        """Remove the record. Raises ``Refused`` like :meth:`get`."""
        self.get(key)
        self._changes[key] = None

    def search(self, text: str, page: int = 1, **exact: str) -> dict[str, Any]:
        """Records in which every word of ``text`` begins some word, and which have each non-empty ``exact`` value.

        Upper and lower case are the same. Returns ``{found: how many, page, records: up to PAGE of them}``.
        """
        wanted = [f" {word}" for word in _words(text).split()]
        filters = {field: value.strip().casefold() for field, value in exact.items() if value.strip()}
        known, found = _base_words()[self.name], []
        for key, record in self:
            if any(str(record[field]).casefold() != value for field, value in filters.items()):
                continue
            words = "" if not wanted else known[key] if key not in self._changes else _record_words(key, record)
            if all(word in words for word in wanted):
                found.append({"id": key, **record})
        first = (max(page, 1) - 1) * PAGE
        return {"found": len(found), "page": max(page, 1), "records": found[first : first + PAGE]}


def net_changes(session: Session) -> dict[str, Any]:
    """What a session changed in the end, in a form fit for ``==``.

    Table -> ``{"changed": {id: record or None}, "added": [records, sorted]}``. Text is compared without regard to
    case and white space; a change that was undone is none; added records have no id, so their order is free.
    """
    net: dict[str, Any] = {}
    for name, changes in session["changes"].items():
        known = base()[name]
        changed = {key: _folded(record) for key, record in changes.items() if key in known}
        changed = {key: record for key, record in changed.items() if record != _folded(known[key])}
        added = [_folded(record) for key, record in changes.items() if key not in known and record is not None]
        if changed or added:
            net[name] = {"changed": changed, "added": sorted(added, key=str)}
    return net


def differences(expected: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    """Where two :func:`net_changes` differ, in words."""
    found = []
    for name in TABLES:
        want, have = (state.get(name, {"changed": {}, "added": []}) for state in (expected, actual))
        for key in sorted(want["changed"].keys() | have["changed"].keys()):
            left, right = (side["changed"].get(key, "unchanged") for side in (want, have))
            if left != right:
                found.append(f"{name} {key}: expected {_told(left)}, is {_told(right)}")
        found += [f"{name}: not added: {record}" for record in want["added"] if record not in have["added"]]
        found += [f"{name}: should not be added: {record}" for record in have["added"] if record not in want["added"]]
        if len(want["added"]) != len(have["added"]):
            found.append(f"{name}: expected {len(want['added'])} added, are {len(have['added'])}")
    return found


def _told(record: Any) -> Any:
    return "deleted" if record is None else record


@cache
def _base_words() -> dict[str, dict[str, str]]:
    """Table -> id -> the words of the base record."""
    return {
        name: {key: _record_words(key, record) for key, record in records.items()} for name, records in base().items()
    }


def _record_words(key: str, record: Record) -> str:
    return _words(f" {key} {' '.join(map(str, record.values()))}")


def _words(text: str) -> str:
    return _BETWEEN_WORDS.sub(" ", text.casefold())


def _folded(record: Record | None) -> Record | None:
    if record is None:
        return None
    return {
        field: " ".join(value.casefold().split()) if isinstance(value, str) else value
        for field, value in sorted(record.items())
    }
