"""When the cycle collector runs: once memory has grown, not by counting allocations.

On the ordinary path reference counting frees everything, so a pass of the collector finds nothing; but it
walks the hundred objects of each rollout in the air, and with two thousand of them that stalls the event loop
for 0.1 s, several times a minute. What does leave cycles (tracebacks, an environment's own code) shows as
memory, and is collected when it has become a quarter more.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os

LOOK_S = 2.0
GROWTH, SLACK = 1.25, 64 << 20
"""Collect when resident memory is above ``GROWTH`` times what the last pass left, plus ``SLACK`` bytes."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Garbage:
    """Takes over collection in this process. Make it once everything that lives as long as the process is there."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()
        self._left = resident_bytes()
        if self._left:
            gc.disable()

    def look(self) -> bool:
        """Collect if it is time; returns whether it was."""
        if resident_bytes() <= GROWTH * self._left + SLACK:
            return False
        gc.collect()
        _trim()
        self._left = resident_bytes()
        return True

    async def watch(self) -> None:
        """Look every ``LOOK_S`` seconds, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()


def _trim() -> None:
    """Give freed memory back to the system (glibc), or what was left would be measured too high each time."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """Memory of this process that is resident now (proc(5)). 0 where the system does not say: Python's own rule
    then stays in force."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0
