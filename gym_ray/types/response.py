"""Items as one ``response`` object: a model's reply, or a whole episode as a single one.

It has every field that NeMo Gym 0.7's ``NeMoGymResponse`` requires. Source: OpenAI's Responses API reference.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from gym_ray.types.items import Item
from gym_ray.types.trajectory import FinishReason, Trajectory, Usage

Json = dict[str, Any]
_INCOMPLETE = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.CONTEXT_WINDOW: "max_output_tokens",
    FinishReason.CONTENT_FILTER: "content_filter",
}


def response_of(
    trajectory: Trajectory, params: Mapping[str, Any], name: str = "resp_0", created: float | None = None
) -> Json:
    """The episode as one object. ``params``: the create parameters; ``created``: Unix seconds, now if None."""
    made = time.time() if created is None else created
    return response_object(
        trajectory.items, params, trajectory.model, trajectory.finish_reason, trajectory.usage, name, made
    )


def response_object(
    items: list[Item],
    params: Mapping[str, Any],
    model: str,
    finish_reason: FinishReason | None,
    usage: Usage,
    name: str,
    created: float,
) -> Json:
    """A ``response`` object with ``items`` as its output."""
    reason = _INCOMPLETE.get(finish_reason) if finish_reason is not None else None
    return {
        "id": name,
        "object": "response",
        "created_at": created,
        "model": model,
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": items,
        "parallel_tool_calls": params.get("parallel_tool_calls", True),
        "tool_choice": params.get("tool_choice") or "auto",
        "tools": params.get("tools") or [],
        "usage": usage_object(usage),
    }


def usage_object(usage: Usage) -> Json:
    """As OpenAI's schema requires it since 2026; NeMo Gym 0.7 checks it when it verifies a row again."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
