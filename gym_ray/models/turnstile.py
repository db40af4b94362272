"""Bounded work per turn of the event loop.

When thousands of calls begin or are answered together, each of them has some hundred microseconds of work
ready, and an event loop runs all that is ready before it looks at sockets and timers again: a stall of half a
second. Work that passes a turnstile first is spread over as many turns as it needs, in order of arrival, with
sockets and timers served in between. While there is no crowd, passing costs a comparison.
"""

from __future__ import annotations

import asyncio
from collections import deque

PER_TURN = 16
"""Coroutines that pass in one turn where each has some hundred microseconds of work."""


class Turnstile:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._passed = 0
        self._turning = False

    def try_pass(self) -> bool:
        """Pass at once if this turn has room. The fast path: no coroutine."""
        if self._waiting or self._passed >= PER_TURN:
            return False
        self._passed += 1
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)
        return True

    async def wait(self) -> None:
        """Pass in a later turn, after all who wait already. To be called when :meth:`try_pass` said no."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _turn(self) -> None:
        """A new turn: whoever is let in here runs in it."""
        self._passed = 0
        while self._waiting and self._passed < PER_TURN:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._passed += 1
        self._turning = self._passed > 0
        if self._turning:
            asyncio.get_running_loop().call_soon(self._turn)
