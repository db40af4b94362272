"""Lanes: how many rollouts may be in the air at once, fewer for those suspected of killing their worker.

When a worker process dies, every rollout that was in the air is a suspect. Nearly all are innocent, so the
first re-run is an ordinary one. Each further death narrows the lane by eight, until a suspect flies alone;
only deaths while alone count against it. So one poisonous row costs a handful of restarts, and a kill from
outside costs nobody a row.
"""

from __future__ import annotations

import asyncio

NARROWING_BITS = 3
"""Suspects of one more death fly in a lane eight (2**3) times narrower."""


class Lanes:
    """Admission by number of deaths. ``width``: rollouts in the air for those without any."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._lanes: dict[int, asyncio.Semaphore] = {}

    def width(self, deaths: int) -> int:
        """Rollouts at once in the lane of those whose worker died ``deaths`` times under them."""
        return max(1, self._width >> NARROWING_BITS * max(0, deaths - 1))

    def alone(self, deaths: int) -> bool:
        """True when that lane lets one rollout fly at a time."""
        return deaths > 0 and self.width(deaths) == 1

    def of(self, deaths: int) -> asyncio.Semaphore:
        """The gate of that lane; first come, first served."""
        lane = 0 if deaths <= 1 else deaths
        if lane not in self._lanes:
            self._lanes[lane] = asyncio.Semaphore(self.width(deaths))
        return self._lanes[lane]
