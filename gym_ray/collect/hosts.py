"""What rollouts need besides agent workers: the policy's deployment, judges, pools of environments.

Each part comes up for the time of a ``with`` and goes down after it, in the reverse order.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from gym_ray.collect.config import RunConfig
from gym_ray.collect.judges import judges_up
from gym_ray.models.config import ModelConfig
from gym_ray.models.connect import ListEndpoints
from gym_ray.resources.actor import Pool, StartingPool, begin_pool, end_actors, kill_actors
from gym_ray.resources.connect import resolve_placement
from gym_ray.resources.judge import POLICY, Judges

STILL_S = 30.0
"""Seconds between two words about a deployment that is not up yet."""
APP = "policy"
"""Name of the policy's Serve application, unless ``model.serve.app`` is another."""


def app_of(model: ModelConfig) -> str:
    """Name of the application that deploys this policy."""
    return model.serve.app or APP


@dataclass(frozen=True, slots=True)
class Hosts:
    """What is up. ``endpoints``: lists the policy's replicas, None for a remote endpoint. ``pools``: actors of the
    environments that are not placed inline."""

    endpoints: ListEndpoints | None
    judges: Judges
    pools: dict[str, Pool]


@contextlib.contextmanager
def hosts_up(config: RunConfig, asked: list[str], say: Callable[[str], None]) -> Iterator[Hosts]:
    """All that ``config`` asks for. ``asked``: names of the judges to start. ``say``: told how it goes."""
    deploy = partial(deployed, say)
    policy = deploy(config.model, APP) if needs_policy(config, asked) else contextlib.nullcontext()
    with (
        policy as endpoints,
        judges_up(config, asked, endpoints, deploy) as judges,
        pools_up(config, judges) as pools,
    ):
        yield Hosts(endpoints, judges, pools)


def needs_policy(config: RunConfig, asked: list[str]) -> bool:
    """Whether anything asks the policy: rollouts that are not recorded, or a verifier."""
    return config.recorded is None or POLICY in asked


@contextlib.contextmanager
def deployed(say: Callable[[str], None], model: ModelConfig, app_name: str) -> Iterator[ListEndpoints | None]:
    """A deployment of our own for the time of the block, or None for a remote endpoint. ``say``: told how it goes."""
    if model.kind != "vllm":
        yield None
        return
    from gym_ray.models.serve.deployment import deploy, undeploy

    app_name = model.serve.app or app_name
    count = model.serve.num_replicas
    say(f"starting {app_name} {model.name} ({count} replica{'s' * (count != 1)}) on Ray Serve ...")
    began = time.monotonic()
    with _still(say, app_name):
        endpoints = deploy(model, app_name=app_name)
    say(f"{app_name} up after {time.monotonic() - began:.0f} s")
    try:
        yield endpoints
    finally:
        undeploy(app_name)


@contextlib.contextmanager
def _still(say: Callable[[str], None], what: str) -> Iterator[None]:
    """Say every ``STILL_S`` seconds that ``what`` is not up yet: weights may take minutes to load."""
    ended, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(STILL_S):
            say(f"{what} is still starting after {time.monotonic() - began:.0f} s")

    threading.Thread(target=tell, name="still-starting", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextlib.contextmanager
def pools_up(config: RunConfig, judges: Judges) -> Iterator[dict[str, Pool]]:
    """Actor pools of the environments that are not placed inline, started side by side."""
    starting: list[StartingPool] = []
    try:
        for name, environment in config.envs.items():
            if resolve_placement(environment) != "inline":
                starting.append(begin_pool(name, environment, judges))
        pools = {one.name: one.ready() for one in starting}
    except BaseException:
        kill_actors([actor for one in starting for actor in one.actors])
        raise
    try:
        yield pools
    finally:
        end_actors([actor for one in starting for actor in one.actors])
