"""A model that says what its script says, for everything but the engine.

Settings under ``model.serve.engine_args``: ``script``, a list of turns, each a list of output items, of which
the n-th answers once n tool outputs are in the conversation (the last one repeats); ``latency_s``, seconds
before each answer; ``tokens``, how many sampled ids to pretend; ``fail``, what to raise instead of starting;
``sick``, a file whose existence makes replicas unhealthy.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from gym_ray.models.config import ModelConfig
from gym_ray.models.serve.checkpoint import shapes
from gym_ray.models.serve.engine import Turn
from gym_ray.models.serve.live import Valve
from gym_ray.types.items import Item, assistant_message


class ScriptedModel:
    """A :class:`~gym_ray.models.serve.engine.Responder` without weights."""

    def __init__(self, config: ModelConfig) -> None:
        arguments = config.serve.engine_args
        script: list[list[Item]] = arguments.get("script") or [[assistant_message("ok")]]
        self._latency_s, tokens = float(arguments.get("latency_s", 0.0)), int(arguments.get("tokens", 0))
        self._fail, self._sick = arguments.get("fail"), arguments.get("sick")
        self._replies = [_reply(items, tokens) for items in script]

    async def start(self) -> None:
        """Nothing to bring up, unless told to fail."""
        if self._fail:
            raise RuntimeError(self._fail)

    async def health(self) -> None:
        """Well, unless the file that ``sick`` names exists."""
        if self._sick and os.path.exists(self._sick):  # noqa: ASYNC240
            raise RuntimeError("sick")

    async def stop(self) -> None:
        """Nothing to release."""

    async def respond(self, turn: Turn) -> dict[str, Any]:
        """The script's answer for this point of the conversation."""
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        done = sum(item.get("type") == "function_call_output" for item in turn["items"])
        return self._replies[min(done, len(self._replies) - 1)]

    def token_texts(self, ids: list[int]) -> list[str]:
        """Ids have no text here."""
        return [f"<{token}>" for token in ids]


class LiveModel(ScriptedModel):
    """One that says which weights it has: the first of their bytes, and the version.

    Settings: ``bad``, a file; a replica whose process id is in it fails to load.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self._bad = config.serve.engine_args.get("bad")
        self.live, self.version, self.weights, self._valve = self, 0, "as deployed", Valve()

    @property
    def paused(self) -> bool:
        """See ``Live``."""
        return self._valve.closed

    async def pause(self, mode: str) -> None:
        """See ``Live``."""
        self._valve.close()

    async def resume(self) -> None:
        """See ``Live``."""
        self._valve.open()

    async def load(self, directory: str, version: int) -> None:
        """See ``Live``."""
        assert self.paused
        if self._bad and str(os.getpid()) in Path(self._bad).read_text():  # noqa: ASYNC240
            raise RuntimeError("out of memory")
        files = sorted(Path(directory).glob("*.safetensors"))  # noqa: ASYNC240
        self.weights, self.version = " ".join(name for file in files for name in shapes(file.parent)), version

    async def respond(self, turn: Turn) -> dict[str, Any]:
        """What it is made of."""
        await self._valve.enter()
        return _reply([assistant_message(f"{self.version} {self.weights} {os.getpid()}")], 0)


def _reply(items: list[Item], tokens: int) -> dict[str, Any]:
    calls = any(item["type"] == "function_call" for item in items)
    usage = {"prompt_tokens": tokens, "completion_tokens": tokens, "cached_tokens": 0, "reasoning_tokens": 0}
    ids = list(range(tokens))
    exact = {"kept": 0, "suffix": ids, "sampled": ids, "logprobs": [0.0] * tokens, "version": 0}
    return {
        "items": items,
        "finish_reason": "tool_calls" if calls else "stop",
        "usage": usage,
        "tokens": exact if tokens else None,
    }
