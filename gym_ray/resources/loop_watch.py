"""How long an operation keeps the event loop from everybody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

PULSE_S = 0.005
"""A pulse that comes late by so much more shows a stall."""


class LoopWatch:
    """Measures how long the event loop stands still. ``worst``: seconds, by operation."""

    def __init__(self) -> None:
        self.worst: dict[str, float] = {}
        self._label = ""

    async def __aenter__(self) -> LoopWatch:
        self._task = asyncio.create_task(self._pulse())
        await asyncio.sleep(PULSE_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def measure(self, label: str, work: Awaitable[Any]) -> Any:
        """Await ``work``; whatever it holds up goes under ``label``."""
        self._label = label
        try:
            return await work
        finally:
            await asyncio.sleep(2 * PULSE_S)

    async def _pulse(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(PULSE_S)
            late = time.perf_counter() - began - PULSE_S
            self.worst[self._label] = max(late, self.worst.get(self._label, 0.0))
