"""One rollout's conversation with a model: items so far, exact tokens so far, tokens left.

Every agent loop asks the model through :meth:`Conversation.ask`, so that turns, token bookkeeping and
budgets are kept in one place.
"""

from __future__ import annotations

import time
from typing import Any

from gym_ray.agents.base import AgentConfig, RolloutContext
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.types.errors import FailureKind, RolloutError, Stage
from gym_ray.types.items import Item
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Turn

CUT = frozenset({FinishReason.LENGTH, FinishReason.CONTEXT_WINDOW, FinishReason.CONTENT_FILTER})
"""Reasons of one call after which the loop cannot go on."""


class Conversation:
    """What was said (``items``) and how much may still be sampled. Grows ``context.trajectory`` in place."""

    def __init__(self, context: RolloutContext, config: AgentConfig) -> None:
        self._context = context
        self._config = config
        self._items = list(context.trajectory.input)
        self._last: TurnTokens | None = None
        self._covered = 0
        self._left = config.max_tokens

    def add(self, item: Item) -> None:
        """Append something the model did not say: a tool's output, an observation."""
        self._items.append(item)
        self._context.trajectory.items.append(item)

    def restart(self, items: list[Item], tokens: TurnTokens | None = None) -> None:
        """Go on from ``items`` instead of what was said so far: a compaction, the brief of a sub-agent, an earlier
        point. ``tokens``: of the model call that ``items`` end with.

        The trajectory keeps what it has; the next call begins a new segment, whose prompt is rendered afresh where
        there are no ``tokens``.
        """
        self._items = list(items)
        self._last, self._covered = tokens, 0 if tokens is None else len(items)

    @property
    def items(self) -> list[Item]:
        """What the next prompt is made of."""
        return self._items

    async def ask(self, params: dict[str, Any] | None = None) -> ModelReply:
        """One model call. Its items, tokens and usage are on the trajectory when this returns. ``params``: create
        parameters in place of the task's.

        Raises:
            RolloutError: the model's own, or ``prompt_too_long`` when not even the first prompt fits.
        """
        context, trajectory = self._context, self._context.trajectory
        params = context.params if params is None else params
        params = params if self._left is None else _shortened(params, self._left)
        request = ModelRequest(params, self._items, context.rollout_id, self._last, self._covered)
        began = time.perf_counter()
        reply = await context.model.respond(request)
        seconds = time.perf_counter() - began
        context.timings["model"] = context.timings.get("model", 0.0) + seconds
        if reply.finish_reason is FinishReason.CONTEXT_WINDOW and not reply.items:
            if not trajectory.turns:
                reason = "the first prompt does not fit the model's context window"
                raise RolloutError(FailureKind.PROMPT_TOO_LONG, Stage.MODEL, reason)
            return reply
        self._items += reply.items
        trajectory.items += reply.items
        last_item = len(trajectory.items) - 1
        trajectory.turns.append(Turn(last_item, reply.finish_reason, reply.usage, reply.tokens, seconds))
        self._last, self._covered = reply.tokens, len(self._items)
        if self._left is not None:
            self._left -= reply.usage.completion_tokens
        return reply

    def stopped_by(self, reply: ModelReply) -> FinishReason | None:
        """The reason for which the loop must end after ``reply``, or None."""
        if reply.finish_reason in CUT:
            return reply.finish_reason
        return None if self.tokens_left else FinishReason.LENGTH

    @property
    def tokens_left(self) -> bool:
        """False once ``max_tokens`` tokens were sampled."""
        return self._left is None or self._left > 0

    @property
    def turns_left(self) -> bool:
        """False once ``max_turns`` model calls were made."""
        return len(self._context.trajectory.turns) < self._config.max_turns


def _shortened(params: dict[str, Any], left: int) -> dict[str, Any]:
    asked = params.get("max_output_tokens")
    return {**params, "max_output_tokens": min(left, asked) if asked else left}
