"""One agent worker as a Ray actor: groups are handed in by the handful, and finished ones taken by the handful.

A Ray call costs about a millisecond of CPU, so none is made per group: :meth:`Hand.begin` takes all that is
waiting to begin, :meth:`Hand.take` waits for a finished group and gives all there are. What was given is kept
until the next ``take`` says that it arrived.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from gym_ray.collect.worker import AgentWorker, PlannedTask, WorkerSetup
from gym_ray.types.errors import UserError, describe

CALLS = 4
"""Threads of the actor: ``begin``, ``take``, ``close``, and one to spare."""
GATHER_S = 0.005
"""What finishes so soon after another group travels with it."""
PARCEL_BYTES = 64 << 20
"""A parcel ends with the group that reaches this size."""


class GroupKey(NamedTuple):
    """Which group: ``PlannedTask.number`` and ``first_index``."""

    number: int
    first_index: int


@dataclass(slots=True)
class Finished:
    """A group that ended. ``records``: encoded rollouts in order of index, durable. ``error``: why there are none."""

    key: GroupKey
    records: list[bytes] = field(default_factory=list)
    error: str = ""


@dataclass(slots=True)
class Parcel:
    """What one ``take`` gives. ``last``: sequence number of its last group, to be told to the next ``take``.

    ``error``: the text of a :class:`UserError`; the worker cannot go on.
    """

    last: int
    groups: list[Finished]
    error: str = ""


class Hand:
    """The actor class (see the module)."""

    def __init__(self, setup: WorkerSetup, name: str) -> None:
        self._error = ""
        self._changed = threading.Condition()
        self._finished: dict[int, Finished] = {}
        self._count = 0
        try:
            self._worker = AgentWorker(setup, name)
        except UserError as error:
            self._error = str(error)

    def begin(self, tasks: list[PlannedTask]) -> None:
        """Start these groups; returns at once."""
        for task in [] if self._error else tasks:
            key = GroupKey(task.number, task.first_index)
            self._worker.group(task).add_done_callback(partial(self._finish, key))

    def take(self, taken: int, wait_s: float) -> Parcel:
        """What has finished after number ``taken``; waits up to ``wait_s`` seconds for something."""
        with self._changed:
            for number in [number for number in self._finished if number <= taken]:
                del self._finished[number]
            arrived = self._changed.wait_for(lambda: self._finished or self._error, wait_s)
        if arrived and not self._error:
            time.sleep(GATHER_S)
        with self._changed:
            groups, size = {}, 0
            for number, group in self._finished.items():
                groups[number] = group
                size += sum(map(len, group.records))
                if size >= PARCEL_BYTES:
                    break
            return Parcel(max(groups, default=taken), list(groups.values()), self._error)

    def close(self) -> None:
        """See :class:`AgentWorker`."""
        if not self._error:
            self._worker.close()

    def _finish(self, key: GroupKey, future: Future[list[bytes]]) -> None:
        error = future.exception()
        with self._changed:
            if isinstance(error, UserError):
                self._error = self._error or str(error)
            else:
                group = Finished(key, [], describe(error)) if error else Finished(key, future.result())
                self._count += 1
                self._finished[self._count] = group
            self._changed.notify_all()
