"""The judges of a run as model clients: the same client, budgets and limiter as the policy's.

A :class:`JudgeTable` is what travels to the processes that host environments: settings and replica lists, no
connection and no key. It implements ``resources.judge.Judges``.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gym_ray.models.config import ModelConfig
from gym_ray.models.connect import ListEndpoints, connect_model
from gym_ray.models.protocol import Model, ModelRequest
from gym_ray.models.sampling import effective_params
from gym_ray.resources.judge import JudgeModel, JudgeReply
from gym_ray.types.items import Item


@dataclass(frozen=True)
class JudgeTable:
    """Judges by name: settings, and what lists the replicas of our own deployments (None: remote)."""

    models: dict[str, tuple[ModelConfig, ListEndpoints | None]]

    def __contains__(self, name: object) -> bool:
        return name in self.models

    def open(self, name: str) -> JudgeModel:
        """A new client.

        Raises:
            UserError: the settings cannot work.
        """
        config, endpoints = self.models[name]
        return ModelJudge(connect_model(config, endpoints), config)


class ModelJudge:
    """A ``JudgeModel`` that is a :class:`Model`."""

    def __init__(self, model: Model, config: ModelConfig) -> None:
        self._model, self._config = model, config
        # Each call goes to whichever replica its number falls to: judgements share no history.
        self._sessions, self._base = itertools.count(), uuid.uuid4().hex

    async def respond(self, items: list[Item], params: Mapping[str, Any]) -> JudgeReply:
        """See ``JudgeModel``."""
        merged = effective_params(dict(params), self._config, [])
        request = ModelRequest(merged, items, f"judge-{self._base}-{next(self._sessions)}")
        reply = await self._model.respond(request)
        return JudgeReply(reply.items, reply.finish_reason, reply.usage)

    async def close(self) -> None:
        """See ``JudgeModel``."""
        await self._model.close()
