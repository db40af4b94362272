"""Where each rollout of a run lies, and the few numbers that lists are filtered and sorted by.

Invariants: 51 bytes per rollout and nothing else grows with the run; a rollout itself is read when it is looked at.
Positions never change: a live run appends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gym_ray.runs.rollouts import StoredRollout
from gym_ray.types.outcome import Outcome

ENTRY = np.dtype(
    [
        ("task", "<u8"),
        ("index", "<u4"),
        ("environment", "<u2"),
        ("outcome", "u1"),
        ("failure", "<u2"),
        ("turns", "<u4"),
        ("reward", "<f8"),
        ("tokens", "<u8"),
        ("file", "<u4"),
        ("at", "<u8"),
    ]
)
"""``environment``, ``outcome``, ``failure``: codes (of no failure: 0). ``reward``: NaN when there is none. ``file``
and ``at``: where it lies, as its source counts."""
OUTCOMES = [str(outcome) for outcome in Outcome]


class Names:
    """Texts as small numbers, in order of appearance."""

    def __init__(self, first: Sequence[str] = ()) -> None:
        self.texts = list(first)
        self._codes = {text: code for code, text in enumerate(first)}

    def code(self, text: str) -> int:
        """The number of ``text``, a new one if need be."""
        if text not in self._codes:
            self._codes[text] = len(self.texts)
            self.texts.append(text)
        return self._codes[text]

    def find(self, text: str) -> int:
        """The number of ``text``, -1 when it never appeared."""
        return self._codes.get(text, -1)


@dataclass(slots=True)
class Index:
    """Entries (:data:`ENTRY`) of a run, and the names behind their codes."""

    environments: Names = field(default_factory=Names)
    failures: Names = field(default_factory=lambda: Names([""]))
    _held: NDArray[np.void] = field(default_factory=lambda: np.empty(1024, ENTRY))
    _size: int = 0

    def __len__(self) -> int:
        return self._size

    @property
    def entries(self) -> NDArray[np.void]:
        """All entries, as a view."""
        return self._held[: self._size]

    def append(self, entries: NDArray[np.void]) -> None:
        """Add entries at the end."""
        needed = self._size + len(entries)
        if needed > len(self._held):
            grown = np.empty(max(needed, len(self._held) * 3 // 2), ENTRY)
            grown[: self._size] = self.entries
            self._held = grown
        self._held[self._size : needed] = entries
        self._size = needed

    def entry(self, rollout: StoredRollout, file: int, at: int) -> tuple[Any, ...]:
        """The entry of one rollout."""
        return (
            rollout.task_number,
            rollout.index,
            self.environments.code(rollout.environment),
            OUTCOMES.index(rollout.outcome),
            self.failures.code(rollout.failure or ""),
            rollout.turns,
            np.nan if rollout.reward is None else rollout.reward,
            rollout.completion_tokens,
            file,
            at,
        )

    def find(self, task: int, index: int) -> int | None:
        """Position of a rollout, None when there is none."""
        entries = self.entries
        found = np.flatnonzero((entries["task"] == task) & (entries["index"] == index))
        return int(found[0]) if len(found) else None

    def row(self, position: int, task_id: str) -> dict[str, Any]:
        """One line of the list: :func:`~gym_ray.runs.report.detail.row_of` without reading the rollout."""
        entry = self.entries[position]
        reward = float(entry["reward"])
        return {
            "task": int(entry["task"]),
            "index": int(entry["index"]),
            "task_id": task_id,
            "environment": self.environments.texts[entry["environment"]],
            "outcome": OUTCOMES[entry["outcome"]],
            "reward": reward if np.isfinite(reward) else None,
            "tokens": int(entry["tokens"]),
            "turns": int(entry["turns"]),
            "failure": self.failures.texts[entry["failure"]] or None,
        }


class Source(Protocol):
    """Where rollouts are read from. Methods raise UserError when a file is damaged."""

    index: Index

    def read(self, position: int) -> StoredRollout:
        """One rollout, with prompt and tokens."""
        ...

    def task_ids(self, positions: Sequence[int]) -> list[str]:
        """Their task ids, in order."""
        ...

    def matches(self, positions: NDArray[np.intp], text: str) -> NDArray[np.bool_]:
        """Which of these say ``text`` (any case), in the task, the conversation or a field."""
        ...
