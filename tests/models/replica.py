"""A stand-in for one replica's ``/turn``, as a script for the test endpoint. Light to import: it runs in children."""

from __future__ import annotations

from typing import Any

from tests.support.endpoint import Call

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "cached_tokens": 3, "reasoning_tokens": 1}


def replica(call: Call) -> dict[str, Any]:
    """Keeps the whole prefix, adds one id per new item, samples two ids."""
    prefix, covered = call.body["prefix"] or [], call.body["covered"]
    tokens = {
        "kept": len(prefix),
        "suffix": [len(prefix) + n for n in range(len(call.body["items"]) - covered)],
        "sampled": [900, 901],
        "logprobs": [-0.5, -0.25],
        "version": 7,
    }
    items = [{"type": "message", "role": "assistant", "content": call.question}]
    return {"items": items, "finish_reason": "stop", "usage": USAGE, "tokens": tokens}
