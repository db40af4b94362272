"""An environment whose tools take their time and cost nothing."""

from __future__ import annotations

import asyncio

from gym_ray.resources.server import ResourcesServer, Session, tool
from gym_ray.types.trajectory import Trajectory


class Slow(ResourcesServer):
    """Waits when asked to."""

    async def seed(self, task: object) -> Session:
        """Nothing to remember."""
        return {}

    @tool
    async def wait(self, session: Session, seconds: float) -> str:
        """Wait so long."""
        await asyncio.sleep(seconds)
        return "waited"

    async def verify(self, task: object, trajectory: Trajectory, session: Session) -> float:
        """Always right."""
        return 1.0
