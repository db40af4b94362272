"""How long an agent worker's event loop stalls: the ordinary tool loop with a clock beside it.

``agent.kind=benchmark.lag:Watched``. The clock wakes every ``BEAT_S``; what it is late is a stall. The worst
one of each process goes to a file in the folder that ``GYM_RAY_BENCH_LAG`` names.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

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

    async def run(self, context: RolloutContext) -> None:
        """See :class:`gym_ray.agents.base.Agent`."""
        if self._clock is None:
            self._clock = asyncio.get_running_loop().create_task(_watch())
        await super().run(context)


async def _watch() -> None:
    file = Path(os.environ[FOLDER]) / str(os.getpid())
    worst, written = 0.0, time.monotonic()
    while True:
        before = time.monotonic()
        await asyncio.sleep(BEAT_S)
        now = time.monotonic()
        worst = max(worst, now - before - BEAT_S)
        if now - written > WRITE_S:
            written = now
            file.write_text(str(worst))


def worst_ms(folder: Path) -> float:
    """The worst stall of any process, in ms; NaN when none was watched."""
    return 1000 * max((float(file.read_text()) for file in folder.iterdir()), default=float("nan"))
