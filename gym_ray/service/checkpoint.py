"""The service's state on disk: one small file, replaced as a whole, and pass rates beside it.

Calls to :meth:`Checkpoint.save` that wait share one write: each returns once what is on disk is at least as new
as its call. Pass rates may lag: after a crash the last seconds' observations are missing, never doubled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson

from gym_ray.collect.rundir import RunDir
from gym_ray.service.rows import SERVICE

STATE, RATES = f"{SERVICE}/state.json", f"{SERVICE}/rates.json"
GATHER_S = 0.01
"""Least time between two dispatches of groups, in seconds: each waits for a write of the state."""
RATES_S = 10.0
"""Pass rates are written at most so often."""


class Checkpoint:
    """Belongs to one event loop. ``state``, ``rates``: give what is to be written, as JSON values."""

    def __init__(self, run: RunDir, state: Callable[[], Any], rates: Callable[[], Any]) -> None:
        self._run, self._state, self._rates = run, state, rates
        self._lock = asyncio.Lock()
        self._wished = self._saved = 0
        self._rates_at = time.monotonic()

    def read(self) -> tuple[Any | None, Any | None]:
        """State and pass rates as they were written last; None where there are none. Blocks."""
        return self._run.read_json(STATE), self._run.read_json(RATES)

    async def save(self, *, rates: bool = False) -> None:
        """Make this moment's state durable. ``rates``: pass rates too, however young the last ones are.

        Raises:
            UserError: the directory cannot be written.
        """
        self._wished += 1
        wish = self._wished
        async with self._lock:
            if self._saved < wish:
                newest, content = self._wished, orjson.dumps(self._state())
                await asyncio.to_thread(self._run.write, STATE, content)
                self._saved = newest
            if rates or time.monotonic() > self._rates_at + RATES_S:
                self._rates_at = time.monotonic()
                await asyncio.to_thread(self._run.write, RATES, orjson.dumps(self._rates()))
