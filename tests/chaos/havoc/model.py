"""The model of a run under chaos: it knows the answer, and says it in its own time.

``bump 3`` -> three calls of ``bump``, then "3". ``long 40`` -> a text of 1 to 40 characters. Each call samples two
tokens behind a prompt that extends the last one, so a whole rollout is one segment of four tokens a call.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from gym_ray.models.config import ModelConfig
from gym_ray.models.serve.engine import Turn
from gym_ray.types.items import Item, assistant_message, function_call, item_text

LATENCY_S = (0.05, 0.35)
TOKENS_PER_CALL = 4


class Player:
    """A :class:`~gym_ray.models.serve.engine.Responder` without weights."""

    def __init__(self, config: ModelConfig) -> None:
        pass

    async def start(self) -> None:
        """Nothing to bring up."""

    async def health(self) -> None:
        """Always well."""

    async def stop(self) -> None:
        """Nothing to release."""

    async def respond(self, turn: Turn) -> dict[str, Any]:
        """The next right thing to say."""
        await asyncio.sleep(random.uniform(*LATENCY_S))
        item = say(turn["items"])
        usage = {"prompt_tokens": 2, "completion_tokens": 2, "cached_tokens": 0, "reasoning_tokens": 0}
        kept = len(turn.get("prefix") or ())
        tokens = {"kept": kept, "suffix": [1, 2], "sampled": [3, 4], "logprobs": [-0.5, -0.25], "version": 0}
        reason = "tool_calls" if item["type"] == "function_call" else "stop"
        return {"items": [item], "finish_reason": reason, "usage": usage, "tokens": tokens}


def say(items: list[Item]) -> Item:
    """What comes next in a conversation."""
    word, number = item_text(items[0]).split()
    if word == "long":
        return assistant_message("x" * random.randint(1, int(number)))
    done = sum(item.get("type") == "function_call_output" for item in items)
    return function_call("bump", "{}", f"call-{done}") if done < int(number) else assistant_message(number)
