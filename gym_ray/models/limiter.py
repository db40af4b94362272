"""How many calls may be in flight: a pure state machine, and the gate that obeys it.

:class:`AdaptiveLimit` starts at ``START`` and doubles after each clean round until the first sign of
overload; from then on it grows by 5 % per clean round. A round is ``max(limit, 4)`` clean answers and
counts only when the calls in flight came up to 80 % of the limit (an idle client proves nothing). A 429, a
503 or a timeout cuts the limit to 80 %, at most once per 15 s or the server's Retry-After, whichever is
longer: everything that was in flight when the limit was too high complains at about the same time. A
complaint within that time only takes back what was grown since the cut. Scheme after inspect_ai's adaptive
concurrency.

Invariants: ``FLOOR <= limit <= CAP``; the gate never admits beyond the limit, serves waiters in order of
arrival, and has no waiter while there is room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol

START, FLOOR, CAP = 64, 1, 4096
ROUND_MIN, BUSY, GROWTH, CUT, QUIET_S = 4, 0.8, 0.05, 0.8, 15.0


class Limit(Protocol):
    """Decides how many calls may be in flight at once."""

    @property
    def limit(self) -> int:
        """Calls that may be in flight now."""
        ...

    def clean(self, in_flight: int) -> None:
        """Note a good answer that came while ``in_flight`` calls were out, itself included."""
        ...

    def overloaded(self, now: float, retry_after: float | None) -> None:
        """Note a sign of overload at monotonic second ``now``."""
        ...


@dataclass(frozen=True, slots=True)
class FixedLimit:
    """A limit that a person chose: nothing moves it."""

    limit: int

    def clean(self, in_flight: int) -> None:
        """See :class:`Limit`."""

    def overloaded(self, now: float, retry_after: float | None) -> None:
        """See :class:`Limit`."""


@dataclass(slots=True)
class AdaptiveLimit:
    """Slow start, additive growth, multiplicative cut.

    ``ramping``: true until the first cut. ``answers`` and ``peak``: clean answers in this round, and most
    calls in flight. ``cut_to``: what the last cut left, until ``quiet_until`` (monotonic seconds).
    """

    limit: int = START
    ramping: bool = True
    answers: int = 0
    peak: int = 0
    cut_to: int = CAP
    quiet_until: float = float("-inf")

    def clean(self, in_flight: int) -> None:
        """See :class:`Limit`."""
        self.answers += 1
        if in_flight > self.peak:
            self.peak = in_flight
        if self.answers >= self.limit and self.answers >= ROUND_MIN:
            self._end_round()

    def _end_round(self) -> None:
        if self.peak >= BUSY * self.limit:
            grown = self.limit * 2 if self.ramping else self.limit + max(1, round(self.limit * GROWTH))
            self.limit = min(CAP, grown)
        self.answers = self.peak = 0

    def overloaded(self, now: float, retry_after: float | None) -> None:
        """See :class:`Limit`."""
        self.answers = self.peak = 0
        if now < self.quiet_until:
            self.limit = min(self.limit, self.cut_to)
            return
        self.limit = self.cut_to = max(FLOOR, int(self.limit * CUT))
        self.ramping = False
        self.quiet_until = now + max(QUIET_S, retry_after or 0.0)


class Gate:
    """Admits calls while there is room under a :class:`Limit`. Belongs to one event loop."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.in_flight = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    def try_acquire(self) -> bool:
        """Enter at once if there is room. The fast path: no coroutine."""
        if self._waiters or self.in_flight >= self.limit.limit:
            return False
        self.in_flight += 1
        return True

    async def acquire(self) -> None:
        """Enter, after all who wait already."""
        if self.try_acquire():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Leave; lets the next one in."""
        self.in_flight -= 1
        self._admit()

    async def yield_if_over(self) -> None:
        """For one who is inside: go and queue again if the limit has fallen below what is in flight."""
        if self.in_flight > self.limit.limit:
            self.release()
            await self._back_in()

    async def _back_in(self) -> None:
        try:
            await self.acquire()
        except asyncio.CancelledError:
            # The caller's own `release` is still to come.
            self.in_flight += 1
            raise

    def clean(self) -> None:
        """One of those inside got a good answer."""
        before = self.limit.limit
        self.limit.clean(self.in_flight)
        if self.limit.limit > before:
            self._admit()

    def overloaded(self, retry_after: float | None) -> None:
        """One of those inside met overload."""
        self.limit.overloaded(asyncio.get_running_loop().time(), retry_after)

    def _admit(self) -> None:
        waiters = self._waiters
        while waiters and self.in_flight < self.limit.limit:
            turn = waiters.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)
