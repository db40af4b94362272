"""Ray actors that host a resources server, and the pool of them that one environment has.

An actor's method costs about a millisecond of CPU per call, whatever it does. So there is one method for
all operations, :meth:`ResourcesActor.exchange`: a client hands over everything it has for this actor and
takes what is ready for it (``mailbox``, ``client``).

Nothing is retried by Ray (``max_task_retries=0``): sessions die with their actor. A restarted actor has
another ``incarnation``, so it is never taken for the one that held the sessions.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ray

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.host import Host
from gym_ray.resources.judge import Judges
from gym_ray.resources.load import ServerCode
from gym_ray.resources.mailbox import Answer, Mailbox
from gym_ray.resources.rows import load_row
from gym_ray.types.errors import UserError

MAX_EXCHANGES = 2000
"""Exchanges open at once in one actor: two per agent process."""
SILENCE_S = 120.0
"""A client not heard of for so long is dead: its sessions are closed."""

Letter = tuple[str, str | None, list[bytes]]
"""Client id, incarnation that it means (None: whichever), requests."""
Reply = tuple[str, list[Answer]]
"""Incarnation that answers, answers. With another incarnation than meant, the requests were not begun."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a client needs to know of the class, so that it need not import it. Deadlines in seconds."""

    pid: int
    tools: list[dict[str, Any]]
    gymnasium: bool
    scores_groups: bool
    needs_tokens: bool
    queues_verify: bool
    seed_timeout_s: float
    tool_timeout_s: float
    verify_timeout_s: float


class ResourcesActor:
    """The actor class (see the module)."""

    def __init__(self, name: str, config: EnvironmentConfig, code: ServerCode, judges: Judges | None = None) -> None:
        self._incarnation = uuid.uuid4().hex
        self._boxes: dict[str, Mailbox] = {}
        self._load_row = lru_cache(maxsize=512)(load_row)
        self._sweeper: asyncio.Task[None] | None = None
        self._host: Host | None = None
        self._error = ""
        try:
            self._host = Host(name, config.model_copy(update={"server": code.install()}), judges)
        except UserError as error:
            self._error = str(error)

    async def describe(self) -> Facts | str:
        """The class's facts, or why it cannot be served."""
        if self._host is None:
            return self._error
        self._start(self._host)
        host, server = self._host, self._host.server
        return Facts(
            os.getpid(),
            host.tools,
            host.gymnasium,
            host.scores_groups,
            server.needs_tokens,
            server.cpu_bound,
            host.seed_timeout_s,
            host.tool_timeout_s,
            host.verify_timeout_s + host.review_timeout_s,
        )

    async def exchange(self, letter: bytes) -> bytes:
        """A pickled ``Letter`` in, a pickled ``Reply`` out, within about a second."""
        assert self._host is not None
        self._start(self._host)
        client, meant, requests = pickle.loads(letter)
        answers: list[Answer] = []
        if meant == self._incarnation:
            box = self._boxes.get(client)
            if box is None:
                box = self._boxes[client] = Mailbox(self._host, self._load_row)
            for request in requests:
                box.start(request)
            answers = await box.collect()
        return pickle.dumps((self._incarnation, answers), pickle.HIGHEST_PROTOCOL)

    async def aclose(self) -> None:
        """Close every session; the actor serves no more."""
        await asyncio.gather(*(box.close() for box in self._boxes.values()))
        if self._host is not None:
            await self._host.aclose()

    def _start(self, host: Host) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
            host.start()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SILENCE_S / 8)
            for client, box in list(self._boxes.items()):
                if box.silent_s > SILENCE_S:
                    del self._boxes[client]
                    await box.close()


@dataclass(frozen=True)
class Pool:
    """The actors of one environment. Picklable: any process of the cluster may connect to it."""

    name: str
    config: EnvironmentConfig
    actors: list[Any]
    facts: Facts

    def shutdown(self, timeout_s: float = 10.0) -> None:
        """Close all sessions and end the actors."""
        ray.wait([actor.aclose.remote() for actor in self.actors], num_returns=len(self.actors), timeout=timeout_s)
        for actor in self.actors:
            ray.kill(actor)


def start_pool(name: str, config: EnvironmentConfig, judges: Judges | None = None, timeout_s: float = 300.0) -> Pool:
    """Start ``config.num_actors`` actors, spread over the nodes, and wait until all can serve.

    ``judges``: those of the run, for classes that ask one.

    Raises:
        UserError: the class cannot be loaded or made, or the cluster cannot place the actors.
    """
    options = {
        "num_cpus": config.num_cpus,
        "resources": config.resources,
        "max_restarts": config.max_restarts,
        "max_task_retries": 0,
        "max_concurrency": MAX_EXCHANGES,
        "scheduling_strategy": "SPREAD",
        "enable_task_events": False,
    }
    if config.labels:
        options["label_selector"] = config.labels
    code = ServerCode.read(config.server)
    remote = ray.remote(ResourcesActor).options(**options)
    actors = [remote.remote(name, config, code, judges) for _ in range(config.num_actors)]
    try:
        return Pool(name, config, actors, _facts(name, config, actors, timeout_s))
    except BaseException:
        for actor in actors:
            ray.kill(actor)
        raise


def _facts(name: str, config: EnvironmentConfig, actors: list[Any], timeout_s: float) -> Facts:
    try:
        found = ray.get([actor.describe.remote() for actor in actors], timeout=timeout_s)
    except ray.exceptions.GetTimeoutError:
        wish = f"num_cpus={config.num_cpus:g}, resources={config.resources}, labels={config.labels}"
        reason = f"its {config.num_actors} actors were not ready after {timeout_s:g} s; each wants {wish}"
        raise UserError(f"environment `{name}`: {reason}") from None
    except ray.exceptions.RayError as error:
        raise UserError(f"environment `{name}`: an actor died as it started: {error}") from error
    for facts in found:
        if isinstance(facts, str):
            raise UserError(facts)
    return found[0]  # type: ignore[no-any-return]
