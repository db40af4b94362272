"""A scripted model for the Serve deployment: it answers at once, so only the way to it costs anything."""

from __future__ import annotations

from typing import Any

from benchmark.mock import TOKENS_PER_KB, answer_text
from gym_ray.models.config import ModelConfig


class ScriptedModel:
    """A ``Responder``. ``model.serve.engine_args``: ``text_kb`` (size of the answer), ``tokens`` (with ids)."""

    def __init__(self, config: ModelConfig) -> None:
        arguments = config.serve.engine_args
        text = answer_text(arguments.get("text_kb", 1.0))
        sampled = max(1, int(arguments.get("text_kb", 1.0) * TOKENS_PER_KB))
        content = [{"type": "output_text", "text": text, "annotations": []}]
        self._reply: dict[str, Any] = {
            "items": [
                {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
            ],
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 64, "completion_tokens": sampled, "cached_tokens": 0, "reasoning_tokens": 0},
            "tokens": None,
        }
        if arguments.get("tokens"):
            self._reply["tokens"] = {
                "kept": 0,
                "suffix": list(range(1000, 1064)),
                "sampled": [1000 + (7 * position) % 30000 for position in range(sampled)],
                "logprobs": [-0.0123456789 * (1 + position % 50) for position in range(sampled)],
                "version": 0,
            }

    async def start(self) -> None:
        """Nothing to load."""

    async def health(self) -> None:
        """Always well."""

    async def stop(self) -> None:
        """Nothing to release."""

    async def respond(self, turn: dict[str, Any]) -> dict[str, Any]:
        """The answer."""
        return self._reply
