"""Where an environment runs, seen from the agent's process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.host import Host
from gym_ray.resources.judge import Judges
from gym_ray.resources.load import load_server
from gym_ray.resources.protocol import Resources

if TYPE_CHECKING:
    from gym_ray.resources.actor import Pool


def resolve_placement(config: EnvironmentConfig) -> Literal["inline", "actor", "process"]:
    """``auto`` decided: process where it has a Python of its own, inline for ``pure`` classes, else actor.

    Raises:
        UserError: the class cannot be loaded.
    """
    if config.placement != "auto":
        return config.placement
    if config.requirements is not None or config.python is not None:
        return "process"
    return "inline" if load_server(config.server).pure else "actor"


def connect(name: str, config: EnvironmentConfig, pool: Pool | None = None, judges: Judges | None = None) -> Resources:
    """The environment ``name``: in this process, or in the actors of ``pool``. Use it on one event loop.

    ``judges``: what it may ask in this process; a pool has its own.

    Raises:
        UserError: inline, and the class cannot be loaded or made, or a judge that it asks is missing.
    """
    if pool is None:
        return Host(name, config, judges)
    from gym_ray.resources.client import ActorResources

    return ActorResources(pool)
