"""What an agent may ask of a model, wherever that model runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from gym_ray.types.items import Item
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Usage


@dataclass(slots=True)
class ModelRequest:
    """One model call.

    ``params``: complete Responses create parameters (defaults and overrides merged) without ``input`` and
    ``instructions`` (``tools``, ``temperature``, ``top_p``, ``max_output_tokens``, ...). ``items``: the
    conversation so far. ``last_turn``: exact tokens of this rollout's previous call (None on the first, or
    when the endpoint gave none), and ``covered``: how many of ``items`` those tokens stand for (prompt and
    output of that call); a token-exact model extends them instead of rendering history again.
    ``session``: sticky routing key.
    """

    params: dict[str, Any]
    items: list[Item]
    session: str
    last_turn: TurnTokens | None = None
    covered: int = 0


@dataclass(slots=True)
class ModelReply:
    """What came back. ``items``: output items without token fields. ``tokens``: exact ids, or None."""

    items: list[Item]
    finish_reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    tokens: TurnTokens | None = None


class Model(Protocol):
    """A model client. One instance per process, shared by all rollouts there.

    ``respond`` raises ``RolloutError`` (stage ``model``) once its deadline or retry budget is spent. A
    prompt beyond the context window is no error: it returns ``CONTEXT_WINDOW`` with no items.
    """

    name: str

    async def respond(self, request: ModelRequest) -> ModelReply:
        """Answer one request."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
