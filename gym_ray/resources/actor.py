"""Ray actors that host a resources server, and the pool of them that one environment has.

An actor's method costs about a millisecond of CPU per call, whatever it does. So there is one method for
all operations, :meth:`ResourcesActor.exchange`: a client hands over everything it has for this actor and
takes what is ready for it (``mailbox``, ``client``). The environment itself lives in the actor's process
(``office``) or, placed as ``process``, in a child of it with a Python of its own (``child``).

Nothing is retried by Ray (``max_task_retries=0``): sessions die with their actor, and an actor dies with its
child. A restarted actor has another ``incarnation``, so it is never taken for the one that held the sessions.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

import ray

from gym_ray.resources.child import ChildOffice
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.connect import resolve_placement
from gym_ray.resources.judge import Judges
from gym_ray.resources.load import ServerCode, load_server
from gym_ray.resources.office import Facts, Office
from gym_ray.resources.requirements import Requirements
from gym_ray.resources.venv import BUILD_S
from gym_ray.types.errors import UserError

MAX_EXCHANGES = 2000
"""Exchanges open at once in one actor: two per agent process."""
_SLACK_S = 15.0
"""So much sooner than the driver does a child's parent give up waiting: it knows why."""


@dataclass(frozen=True, slots=True)
class ChildTerms:
    """That an environment gets a process of its own. ``start_s``: its deadline to be ready, without the installing."""

    requirements: Requirements | None
    start_s: float

    @classmethod
    def of(cls, config: EnvironmentConfig, start_s: float) -> ChildTerms | None:
        """None for an environment that lives in its actor.

        Raises:
            UserError: no such class, or no such requirements file.
        """
        if resolve_placement(config) != "process":
            return None
        if config.requirements is not None:
            return cls(Requirements.read(config.requirements), start_s)
        return cls(load_server(config.server).requirements(config.options), start_s)

    @property
    def patience_s(self) -> float:
        """How long to wait for the actor."""
        return self.start_s + _SLACK_S + (BUILD_S if self.requirements else 0.0)


class ResourcesActor:
    """The actor class (see the module)."""

    def __init__(
        self,
        name: str,
        config: EnvironmentConfig,
        code: ServerCode,
        judges: Judges | None = None,
        child: ChildTerms | None = None,
    ) -> None:
        config = config.model_copy(update={"server": code.install()})
        self._office: Office | ChildOffice
        if child is None:
            self._office = Office(name, config, judges)
        else:
            self._office = ChildOffice(name, config, child.requirements, judges, child.start_s, _end)

    async def describe(self) -> Facts | str:
        """See ``Office``."""
        return await self._office.describe()

    async def exchange(self, letter: bytes) -> bytes:
        """See ``Office``."""
        return await self._office.exchange(letter)

    async def aclose(self) -> None:
        """See ``Office``."""
        await self._office.aclose()


def _end(reason: str) -> None:
    """Die, so that Ray starts this actor anew."""
    print(reason, file=sys.stderr, flush=True)
    os._exit(1)


@dataclass(frozen=True)
class Pool:
    """The actors of one environment. Picklable: any process of the cluster may connect to it."""

    name: str
    config: EnvironmentConfig
    actors: list[Any]
    facts: Facts

    def shutdown(self) -> None:
        """Close all sessions and end the actors."""
        end_actors(self.actors)


@dataclass(frozen=True)
class StartingPool:
    """A pool whose actors are on their way."""

    name: str
    config: EnvironmentConfig
    actors: list[Any]
    patience_s: float

    def ready(self) -> Pool:
        """The pool, once all its actors can serve. Raises as :func:`start_pool`; the actors are gone then."""
        try:
            return Pool(self.name, self.config, self.actors, _facts(self))
        except BaseException:
            kill_actors(self.actors)
            raise


def end_actors(actors: list[Any], timeout_s: float = 10.0) -> None:
    """Close all sessions of these actors, of any number of pools, and end them."""
    if actors:
        ray.wait([actor.aclose.remote() for actor in actors], num_returns=len(actors), timeout=timeout_s)
    kill_actors(actors)


def kill_actors(actors: list[Any]) -> None:
    """End them as they are."""
    for actor in actors:
        ray.kill(actor)


def start_pool(name: str, config: EnvironmentConfig, judges: Judges | None = None, timeout_s: float = 300.0) -> Pool:
    """As :func:`begin_pool`, and wait until all actors can serve.

    Raises:
        UserError: the class cannot be loaded or made, or the cluster cannot place the actors.
    """
    return begin_pool(name, config, judges, timeout_s).ready()


def begin_pool(
    name: str, config: EnvironmentConfig, judges: Judges | None = None, timeout_s: float = 300.0
) -> StartingPool:
    """Start ``config.num_actors`` actors, spread over the nodes; several pools come up side by side.

    ``judges``: those of the run, for classes that ask one. ``timeout_s``: to be ready; packages that must be
    installed first have ``venv.BUILD_S`` of their own.

    Raises:
        UserError: there is no such class.
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
    code, child = ServerCode.read(config.server), ChildTerms.of(config, timeout_s)
    remote = ray.remote(ResourcesActor).options(**options)
    actors = [remote.remote(name, config, code, judges, child) for _ in range(config.num_actors)]
    return StartingPool(name, config, actors, timeout_s if child is None else child.patience_s)


def _facts(pool: StartingPool) -> Facts:
    config = pool.config
    try:
        found = ray.get([actor.describe.remote() for actor in pool.actors], timeout=pool.patience_s)
    except ray.exceptions.GetTimeoutError:
        wish = f"num_cpus={config.num_cpus:g}, resources={config.resources}, labels={config.labels}"
        reason = f"its {config.num_actors} actors were not ready after {pool.patience_s:g} s; each wants {wish}"
        raise UserError(f"environment `{pool.name}`: {reason}") from None
    except ray.exceptions.RayError as error:
        raise UserError(f"environment `{pool.name}`: an actor died as it started: {error}") from error
    for facts in found:
        if isinstance(facts, str):
            raise UserError(facts)
    return found[0]  # type: ignore[no-any-return]
