"""What a worker tells about itself: its tally, what is in the air, and how long its event loop stalls.

Once a second (of a thousand workers: every five) it pins a copy to the board and reads whether to stop. All of it
happens on the worker's own loop, so counting needs no lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from gym_ray.collect.attempt import Flight
from gym_ray.collect.tally import Oldest, Tally

REPORT_S = 1.0
"""Seconds between two reports: one Ray call each, about 1 ms of CPU."""
REPORTS_PER_S = 200
"""Of all workers together: the board is one process, and a thousand calls a second are all that it can take."""
BEAT_S = 0.05
"""Seconds between two looks at the clock that measure stalls."""
SHOWN = 10
"""Oldest flights per worker that go into a report."""


class Reporter:
    """Counts for one worker. ``stopping`` turns true when the driver asks to start nothing new."""

    def __init__(
        self, board: Any, worker: str, incarnation: str, journal_lag_s: Callable[[], float], workers: int
    ) -> None:
        """``workers``: how many report to the board."""
        self._board, self._worker, self._incarnation = board, worker, incarnation
        self._every_s = max(REPORT_S, workers / REPORTS_PER_S)
        self._journal_lag_s = journal_lag_s
        self.tally = Tally()
        self.stopping = False
        self._flights: dict[int, Flight] = {}
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to report from the running loop."""
        self._task = asyncio.ensure_future(self._beat())

    async def stop(self) -> None:
        """Report once more and end."""
        if self._task is not None:
            self._task.cancel()
            await self._report()

    async def settle(self) -> None:
        """Report now if nothing is left to do: this worker may be ended at any moment."""
        if not self._flights and not self._waiting:
            await self._report()

    @contextlib.contextmanager
    def flying(self, flight: Flight) -> Iterator[Flight]:
        """The rollout is in the air inside this block."""
        self._flights[id(flight)] = flight
        try:
            yield flight
        finally:
            del self._flights[id(flight)]

    @contextlib.contextmanager
    def waiting(self, rollouts: int = 1) -> Iterator[None]:
        """So many rollouts wait for a place inside this block."""
        self._waiting += rollouts
        try:
            yield
        finally:
            self._waiting -= rollouts

    async def _beat(self) -> None:
        due = time.monotonic() + self._every_s
        while True:
            before = time.monotonic()
            await asyncio.sleep(BEAT_S)
            now = time.monotonic()
            self.tally.lag_ms = max(self.tally.lag_ms, (now - before - BEAT_S) * 1000)
            if now >= due:
                await self._report()
                due = time.monotonic() + self._every_s

    async def _report(self) -> None:
        if self._board is None:
            return
        tally = self.tally
        tally.in_flight, tally.waiting, tally.oldest = len(self._flights), self._waiting, self._oldest()
        tally.journal_lag_s = self._journal_lag_s()
        # A board that died or is slow must never cost a rollout.
        with contextlib.suppress(Exception):
            report = self._board.report.remote(self._worker, self._incarnation, tally)
            self.stopping |= await asyncio.wait_for(report, timeout=10)
        tally.lag_ms = 0.0

    def _oldest(self) -> list[Oldest]:
        now = time.monotonic()
        oldest = sorted(self._flights.values(), key=lambda flight: flight.since)[:SHOWN]
        return [Oldest(flight.rollout_id, flight.stage, now - flight.since, self._worker) for flight in oldest]
