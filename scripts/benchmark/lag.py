"""How long an agent worker's event loop stalls: the ordinary tool loop with a clock beside it.

``agent.kind=benchmark.lag:Watched``. The clock wakes every ``BEAT_S``; what it is late is a stall, as long as
there are rollouts that suffer from it (closing thousands of sockets at the end stalls nobody). Beside it
stands the CPU time that the loop's thread used meanwhile: on a busy machine a stall may be somebody else's.
The worst ones of each process go to a file in the folder that ``GYM_RAY_BENCH_LAG`` names.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import NamedTuple

from gym_ray.agents.base import AgentConfig, RolloutContext
from gym_ray.agents.tool_loop import ToolLoop

FOLDER = "GYM_RAY_BENCH_LAG"
BEAT_S = 0.01
WRITE_S = 0.5


class Watched(ToolLoop):
    """A tool loop that starts the clock with its first rollout."""

    def __init__(self, config: AgentConfig) -> None:
        super().__init__(config)
        self._clock: asyncio.Task[None] | None = None
        self._running = 0

    async def run(self, context: RolloutContext) -> None:
        """See :class:`gym_ray.agents.base.Agent`."""
        if self._clock is None:
            self._clock = asyncio.get_running_loop().create_task(self._watch())
        self._running += 1
        try:
            await super().run(context)
        finally:
            self._running -= 1

    async def _watch(self) -> None:
        file = Path(os.environ[FOLDER]) / str(os.getpid())
        wall = cpu = 0.0
        written = time.monotonic()
        while True:
            before, used = time.monotonic(), time.thread_time()
            await asyncio.sleep(BEAT_S)
            now = time.monotonic()
            if self._running:
                wall, cpu = max(wall, now - before - BEAT_S), max(cpu, time.thread_time() - used)
            if now - written > WRITE_S:
                written = now
                file.write_text(f"{1000 * wall} {1000 * cpu}")


class Lag(NamedTuple):
    """Worst stall of any process's event loop in ms, by the clock and by the loop's own CPU time."""

    wall_ms: float
    cpu_ms: float


def worst(folder: Path) -> Lag | None:
    """What was seen; None when nothing was watched."""
    seen = [file.read_text().split() for file in folder.iterdir()]
    if not seen:
        return None
    return Lag(max(float(wall) for wall, _ in seen), max(float(cpu) for _, cpu in seen))
