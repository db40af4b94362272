"""An environment in a pool of Ray actors, as an agent's process sees it: sticky sessions, spread evenly.

A session stays on the actor where it was seeded; new ones go to the actor with the fewest, among those
that answer (``link``).
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from gym_ray.resources.actor import Pool
from gym_ray.resources.link import Link, RemoteSession, Terms
from gym_ray.resources.rows import RowCache, dump_row
from gym_ray.resources.wire import pack
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage
from gym_ray.types.outcome import Reward
from gym_ray.types.trajectory import Trajectory

GATHER_S = 0.01
"""Least time between two Ray calls of this process to one pool: each costs a millisecond of CPU, so all of them
together stay near a tenth of a core. An operation on an idle link is not held back."""
MAX_GATHER_S = 0.05
"""The same for one actor, however many the pool has."""
MARGIN_S = 15.0
"""What a deadline here exceeds the actor's own by."""
START_S = 300.0
"""How long a seed waits for any actor to be up."""
GROUP_TRIES = 3
"""Group verification keeps no state, so it goes to another actor when one is lost."""


class ActorResources:
    """An environment in a pool of actors (a ``Resources``)."""

    def __init__(self, pool: Pool) -> None:
        facts = pool.facts
        self.tools = facts.tools
        self.gymnasium, self.scores_groups = facts.gymnasium, facts.scores_groups
        self._pool = pool
        self._raw = RowCache(dump_row)
        self._links: list[Link] = []
        self._changed = asyncio.Event()

    @property
    def exchanges(self) -> int:
        """Ray calls made so far."""
        return sum(link.exchanges for link in self._links)

    async def seed(self, task: dict[str, Any], rollout_id: str) -> RemoteSession:
        """See ``Resources``. Goes to the actor with the fewest sessions of this process."""
        raw = self._raw(task)
        return await (await self._place(Stage.SEED)).seed(raw, rollout_id)

    async def verify_group(self, task: dict[str, Any], trajectories: list[Trajectory]) -> list[Reward | MaskRollout]:
        """See ``Resources``."""
        packed = [pack(trajectory, tokens=self._pool.facts.needs_tokens) for trajectory in trajectories]
        for tries in itertools.count(1):
            link = await self._place(Stage.GROUP)
            try:
                rewards: list[Reward | MaskRollout] = await link.ask(link.epoch, "group", self._raw(task), packed)
                return rewards
            except RolloutError as error:
                if error.kind != FailureKind.SESSION_LOST or tries == GROUP_TRIES:
                    raise
        raise AssertionError

    async def aclose(self) -> None:
        """See ``Resources``. The pool goes on; its owner shuts it down."""
        await asyncio.gather(*(link.aclose(timeout_s=5.0) for link in self._links))

    async def _place(self, stage: Stage) -> Link:
        if not self._links:
            gather_s = min(MAX_GATHER_S, GATHER_S * len(self._pool.actors))
            terms = Terms(_deadlines(self._pool), gather_s, self._pool.facts.needs_tokens, self._changed.set)
            self._links = [Link(actor, terms) for actor in self._pool.actors]
        while True:
            up = [link for link in self._links if link.up]
            if up:
                return min(up, key=lambda link: link.load)
            if all(link.dead for link in self._links):
                reason = "every resources actor is dead for good"
                raise RolloutError(FailureKind.SESSION_LOST, stage, reason, terminal=False)
            self._changed.clear()
            try:
                async with asyncio.timeout(START_S):
                    await self._changed.wait()
            except TimeoutError:
                reason = f"no resources actor came up within {START_S:g} s"
                raise RolloutError(FailureKind.SESSION_LOST, stage, reason, terminal=False) from None


def _deadlines(pool: Pool) -> dict[str, float]:
    # Seeds queue for a free session, and cpu-bound verifiers for a worker, for up to the time to live.
    facts, queue_s = pool.facts, pool.config.session_ttl_s
    verify_s = MARGIN_S + facts.verify_timeout_s + (queue_s if facts.queues_verify else 0.0)
    tool_s = MARGIN_S + facts.tool_timeout_s
    seed_s = MARGIN_S + facts.seed_timeout_s + queue_s
    return {"seed": seed_s, "tool": tool_s, "step": tool_s, "verify": verify_s, "group": verify_s}
