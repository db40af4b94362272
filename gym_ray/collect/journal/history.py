"""What a worker knows of the past: what earlier attempts at the run left, and what its own earlier incarnations did.

The first is read once for all workers and shared (``collect.remaining``): read by each of them, a journal of a
million rollouts would cost a thousand workers forty minutes of CPU and 150 MB each. The second is a worker's own
segments only, because whoever asks for a rollout again asks the same worker.
"""

from __future__ import annotations

from collections.abc import Callable

from gym_ray.collect.journal.index import Deaths, JournalIndex, scan
from gym_ray.collect.rundir import RunDir

Earlier = Callable[[], JournalIndex]
"""Gives the index of earlier attempts, in any process of the run."""


class History:
    """``name``: the worker's, with which its segments' names begin. ``earlier``: None when there was no attempt."""

    def __init__(self, run: RunDir, name: str, earlier: Earlier | None) -> None:
        self._run, self._name = run, name
        self._earlier = earlier() if earlier else None
        self._others = frozenset(self._earlier.segments) if self._earlier else frozenset[str]()
        self.read()

    def read(self, own_segment: str = "") -> None:
        """Look again at the worker's own segments. ``own_segment``: the one that it is writing."""
        own = scan(
            self._run, owners=f"{self._name}-", besides=self._others, dead=lambda segment: segment != own_segment
        )
        self._indexes = [index for index in (self._earlier, own) if index is not None and index.files]

    def is_done(self, task: int, index: int) -> bool:
        """Whether the rollout has a final record."""
        return any(one.is_done(task, index) for one in self._indexes)

    def payload(self, task: int, index: int) -> bytes | None:
        """The final record of a rollout, None when it has none. Raises UserError when it is damaged."""
        found = (one.payload(task, index) for one in self._indexes)
        return next((payload for payload in found if payload is not None), None)

    def generated_payload(self, task: int, index: int) -> bytes | None:
        """The record of a rollout that waits for its group's verdict, or None."""
        found = (one.generated_payload(task, index) for one in self._indexes)
        return next((payload for payload in found if payload is not None), None)

    def deaths(self, task: int, index: int) -> Deaths:
        """How often a writer died with this rollout in the air."""
        every = [one.deaths(task, index) for one in self._indexes]
        return Deaths(sum(one.shared for one in every), sum(one.alone for one in every))
