"""Lanes: how many rollouts may be in the air at once, fewer for those suspected of killing their worker.

When a worker process dies, every rollout that was in the air is a suspect. Nearly all are innocent, so the
first re-run is an ordinary one. With each further death a suspect takes up eight times as much of the
suspects' air, until it flies alone among them; only deaths while alone count against it. So one poisonous
row costs a handful of restarts, and a kill from outside costs nobody a row.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

NARROWING_BITS = 3
"""A suspect of one more death takes up eight (2**3) times as much air."""


class Lane(Protocol):
    """One rollout's way into the air and out of it."""

    async def acquire(self) -> bool:
        """Wait for a place."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


class Lanes:
    """Admission by number of deaths. ``width``: rollouts in the air for those without any."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._ordinary = _Share(_Air(width), 1)
        self._suspects = _Air(width)

    def weight(self, deaths: int) -> int:
        """How much of the suspects' air one takes up under whom a worker died ``deaths`` (2 or more) times."""
        return min(self._width, 1 << NARROWING_BITS * (deaths - 1))

    def alone(self, deaths: int) -> bool:
        """True for those who fly with no other suspect in the air."""
        return deaths > 1 and self.weight(deaths) == self._width

    def of(self, deaths: int) -> Lane:
        """Where to wait for a place in the air, and to give it back; first come, first served."""
        return self._ordinary if deaths <= 1 else _Share(self._suspects, self.weight(deaths))


class Boarding:
    """Which blocks may begin: the next one as soon as fewer than ``width`` rollouts begun before it are left.

    That keeps the air full, and what waits behind it costs one future per block instead of tens of objects per
    rollout: memory, and the garbage collector's pauses, follow what is in the air, not what is at hand.
    """

    def __init__(self, width: int) -> None:
        self._free = width
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, rollouts: int) -> None:
        """Wait until a block of so many rollouts may begin; first come, first served."""
        if not self._waiting and self._free > 0:
            self._free -= rollouts
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((rollouts, granted))
        await granted

    def leave(self) -> None:
        """One rollout of a block that entered has ended."""
        self._free += 1
        while self._waiting and self._free > 0:
            rollouts, granted = self._waiting.popleft()
            if not granted.cancelled():
                self._free -= rollouts
                granted.set_result(None)


class _Share:
    """A suspect's part of the air."""

    def __init__(self, air: _Air, weight: int) -> None:
        self._air, self._weight = air, weight

    async def acquire(self) -> bool:
        await self._air.take(self._weight)
        return True

    def release(self) -> None:
        self._air.give(self._weight)


class _Air:
    """A semaphore whose holders take up more or less of it. Fair: nobody overtakes.

    Giving back takes the same time however many wait (asyncio's own looks through all that it has woken: with
    a thousand rollouts ending together, a stall of 0.1 s).
    """

    def __init__(self, free: int) -> None:
        self._free = free
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, weight: int) -> None:
        if not self._waiting and weight <= self._free:
            self._free -= weight
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((weight, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.give(weight)
            raise

    def give(self, weight: int) -> None:
        self._free += weight
        while self._waiting and (self._waiting[0][1].cancelled() or self._waiting[0][0] <= self._free):
            next_weight, granted = self._waiting.popleft()
            if not granted.cancelled():
                self._free -= next_weight
                granted.set_result(None)
