"""The actor class behind Ray's calling convention, in this process: faults that are hard to make with real ones."""

from __future__ import annotations

import asyncio
import pickle
from types import SimpleNamespace
from typing import Any

from ray.exceptions import ActorDiedError, ActorUnavailableError

from gym_ray.resources.actor import Pool
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.office import Facts, Office


class LocalActor:
    """``exchange.remote(letter)`` returns an awaitable. ``fault``: what goes wrong from now on.

    hang: calls never return. drop: answers get lost. down: calls fail as they do while an actor restarts.
    dead: as they do when it will not come back.
    """

    def __init__(self, config: EnvironmentConfig) -> None:
        self._config = config
        self.fault = ""
        self.calls = 0
        self.exchange = SimpleNamespace(remote=self._remote)
        self.replace()

    def replace(self) -> None:
        """Restart: another incarnation, with no sessions."""
        self.actor = Office("env", self._config)

    @property
    def sessions(self) -> int:
        """Open sessions."""
        return self.actor.sessions

    def _remote(self, letter: bytes) -> asyncio.Future[bytes]:
        self.calls += 1
        return asyncio.ensure_future(self._call(letter))

    async def _call(self, letter: bytes) -> bytes:
        await asyncio.sleep(0)
        actor = self.actor
        self._check()
        reply = await actor.exchange(letter)
        self._check()
        if actor is not self.actor:
            raise ActorUnavailableError("the actor was killed", None)
        if self.fault == "hang":
            await asyncio.Event().wait()
        incarnation, answers = pickle.loads(reply)
        return pickle.dumps((incarnation, [] if self.fault == "drop" else answers))

    def _check(self) -> None:
        if self.fault == "down":
            raise ActorUnavailableError("the actor is restarting", None)
        if self.fault == "dead":
            raise ActorDiedError


async def local_pool(config: EnvironmentConfig) -> Pool:
    """A pool of local actors."""
    actors = [LocalActor(config) for _ in range(config.num_actors)]
    facts = await actors[0].actor.describe()
    assert isinstance(facts, Facts)
    actors_: list[Any] = actors
    return Pool("env", config, actors_, facts)
