"""A policy on our own Serve deployment that can add, and whose tokens say which weights sampled them."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from gym_ray.models.serve.engine import Turn
from gym_ray.types.items import assistant_message, item_text
from tests.models.serve.scripted import LiveModel


class Adder(LiveModel):
    """Answers ``sum 2 3`` with 5, after 0.1 to 0.4 s."""

    async def respond(self, turn: Turn) -> dict[str, Any]:
        """Two tokens: one by the weights it begins with, one by those it ends with."""
        await self._valve.enter()
        began = self.version
        await asyncio.sleep(random.uniform(0.1, 0.4))
        await self._valve.enter()
        text = str(sum(int(word) for word in item_text(turn["items"][0]).split()[1:]))
        exact = {"kept": 0, "suffix": [1, 2], "sampled": [3, 4], "logprobs": [-0.5, -0.5]}
        usage = {"prompt_tokens": 2, "completion_tokens": 2, "cached_tokens": 0, "reasoning_tokens": 0}
        tokens = {**exact, "version": [began, self.version]}
        return {"items": [assistant_message(text)], "finish_reason": "stop", "usage": usage, "tokens": tokens}
