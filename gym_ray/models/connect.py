"""From settings to a model client, in the process that will use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gym_ray.models.config import ModelConfig
from gym_ray.models.protocol import Model
from gym_ray.models.remote import RemoteModel
from gym_ray.models.turn import TurnModel

ListEndpoints = Callable[[], Awaitable[list[str]]]


def connect_model(config: ModelConfig, endpoints: ListEndpoints | None) -> Model:
    """A client of our own deployment (``endpoints`` lists its replicas), or of a remote endpoint."""
    return RemoteModel(config) if endpoints is None else TurnModel(config, endpoints)
