"""One rollout as the page shows it: facts, conversation, tokens, the row's other fields. Plain JSON values.

Invariant: text is passed on as it was written, cut at a length and saying so, and never marked up: what it may do to
a reader is the page's business, which shows it as text and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import orjson

from gym_ray.runs.measure import tool_errors
from gym_ray.runs.report.texts import TokenTexts
from gym_ray.runs.rollouts import StoredRollout
from gym_ray.types.items import Item, is_assistant_message, item_text
from gym_ray.types.tokens import Segment

Json = dict[str, Any]
_CALLS = ("function_call", "reasoning")


def row_of(rollout: StoredRollout) -> Json:
    """One line of the list."""
    return {
        "task": rollout.task_number,
        "index": rollout.index,
        "task_id": rollout.task_id,
        "environment": rollout.environment,
        "outcome": str(rollout.outcome),
        "reward": _number(rollout.reward),
        "tokens": rollout.completion_tokens,
        "turns": rollout.turns,
        "failure": rollout.failure,
    }


def detail_of(rollout: StoredRollout, texts: TokenTexts, characters: int, tokens: int) -> Json:
    """All of one rollout. ``characters``: longest text. ``tokens``: most tokens."""
    cut = _Cutter(characters)
    ours = rollout.ours
    segments = list(_segments(rollout.segments, tokens))
    ids = {token for segment in segments for token in segment["ids"]}
    return {
        **row_of(rollout),
        "components": {name: _number(value) for name, value in rollout.components.items()},
        "reason": cut.text(rollout.reason or ""),
        "stage": ours.get("failure_stage"),
        "finish_reason": str(rollout.finish_reason),
        "model": rollout.model,
        "usage": rollout.usage,
        "timings": ours.get("timings") or {},
        "turn_seconds": ours.get("turn_seconds") or [],
        "step_rewards": [_number(value) for value in ours.get("step_rewards") or ()],
        "started": ours.get("started"),
        "attempt": ours.get("attempt", 0),
        "agent": ours.get("agent"),
        "sampling": ours.get("sampling") or {},
        "versions": rollout.versions,
        "prompt": [cut.item(item) for item in rollout.input],
        "items": _numbered(rollout.items, cut),
        "tools": [cut.text(_json(tool)) for tool in rollout.tools],
        "fields": {str(name): cut.text(_json(value)) for name, value in rollout.fields.items()},
        "segments": segments,
        "tokens_left_out": sum(len(one.token_ids) for one in rollout.segments) - sum(len(s["ids"]) for s in segments),
        "vocabulary": {str(token): text for token, text in texts.of(ids).items()},
    }


class _Cutter:
    """Items and texts, no text longer than ``limit`` characters."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def text(self, text: str) -> Json:
        """``{text, more}``: the beginning, and how many characters were left out."""
        return {"text": text[: self._limit], "more": max(0, len(text) - self._limit)}

    def item(self, item: Item) -> Json:
        """One Responses item: ``kind`` is message, reasoning, call, result or other."""
        kind = item.get("type", "message")
        if kind == "message":
            return {"kind": "message", "role": str(item.get("role")), **self.text(_message_text(item))}
        if kind == "reasoning":
            return {"kind": "reasoning", **self.text(item_text(item))}
        if kind == "function_call":
            arguments = self.text(_pretty(str(item.get("arguments") or "")))
            return {"kind": "call", "name": str(item.get("name")), "call": str(item.get("call_id")), **arguments}
        if kind == "function_call_output":
            output = self.text(_pretty(_plain(item.get("output"))))
            return {"kind": "result", "call": str(item.get("call_id")), "error": bool(tool_errors([item])), **output}
        return {"kind": "other", "name": str(kind), **self.text(_json(item))}


def _numbered(items: Sequence[Item], cut: _Cutter) -> list[Json]:
    """Items with ``turn``: the model call that made them, from 1 on; None for what others said in between."""
    turn, shown = 0, []
    for by_model, its in groupby(items, lambda item: is_assistant_message(item) or item.get("type") in _CALLS):
        turn += by_model
        shown += [{**cut.item(item), "turn": turn if by_model else None} for item in its]
    return shown


def _segments(segments: Sequence[Segment], most: int) -> Iterator[Json]:
    """Per segment ``ids``, ``sampled`` (runs of one loss mask: ``[[0, 31], [1, 20]]``), and of the sampled ones
    ``logprobs`` (null for NaN) and ``versions`` (runs)."""
    for segment in segments:
        size = min(most, len(segment.token_ids))
        most -= size
        if not size:
            return
        mask = segment.loss_mask[:size]
        sampled = [at for at, one in enumerate(mask) if one]
        yield {
            "ids": segment.token_ids[:size],
            "sampled": _runs(mask),
            "logprobs": [_number(segment.logprobs[at], 4) for at in sampled],
            "versions": _runs([segment.versions[at] for at in sampled]),
        }


def _runs(values: Sequence[int]) -> list[tuple[int, int]]:
    return [(int(value), len(list(its))) for value, its in groupby(values)]


def _number(value: float | None, digits: int = 12) -> float | None:
    return round(float(value), digits) if value is not None and math.isfinite(value) else None


def _message_text(item: Item) -> str:
    """A message's text; of what is no text (an image) its type."""
    content = item.get("content")
    if not isinstance(content, list):
        return item_text(item)
    parts = [part if isinstance(part, dict) else {"text": str(part)} for part in content]
    return "".join(str(part["text"]) if "text" in part else f"[{part.get('type')}]" for part in parts)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _pretty(text: str) -> str:
    """JSON objects and lists with line breaks; any other text as it is."""
    if not text.startswith(("{", "[")):
        return text
    try:
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return text
