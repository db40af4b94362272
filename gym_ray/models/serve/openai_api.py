"""The public faces: OpenAI's Responses and Chat Completions as turns, and replies in their shapes.

Token ids come when asked for (``return_token_ids``, or chat's ``logprobs`` with
``return_tokens_as_token_ids``), under both names in use: vLLM's (``prompt_token_ids`` and the choice's
``token_ids``) and the triplet of NeMo Gym and NeMo-RL on the last output item, or the message. A triplet
that comes back on a later request is extended exactly. Shapes: the OpenAI API reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from gym_ray.models.chat import chat_messages
from gym_ray.models.serve.engine import Turn
from gym_ray.models.serve.sampling import rejected
from gym_ray.types.items import Item, input_items, reasoning

Json = dict[str, Any]
TokenTexts = Callable[[list[int]], list[str]]

_NOT_PARAMS = frozenset({"input", "instructions", "messages", "model", "stream", "stream_options"})
_FINISH = {"context_window": "length"}


def responses_turn(body: Json) -> Turn:
    """A Responses request as a turn."""
    return _turn(body, input_items(body))


def chat_turn(body: Json) -> Turn:
    """A Chat Completions request as a turn."""
    turn = _turn(body, [item for message in body["messages"] for item in _chat_items(message)])
    limit = turn["params"].pop("max_completion_tokens", None)
    if limit is not None:
        turn["params"]["max_tokens"] = limit
    return turn


def _turn(body: Json, items: list[Item]) -> Turn:
    if body.get("stream"):
        raise rejected("`stream` is not supported")
    params = {key: value for key, value in body.items() if key not in _NOT_PARAMS}
    prefix, covered = _exact_history(items)
    return {"params": params, "items": items, "session": "http", "prefix": prefix, "covered": covered}


def _chat_items(message: Json) -> list[Item]:
    thought = message.get("reasoning_content") or message.get("reasoning")
    return [reasoning(thought), message] if thought and message.get("role") == "assistant" else [message]


def _exact_history(items: list[Item]) -> tuple[list[int] | None, int]:
    """Ids of the last model call that travels with its tokens, and how many items they stand for."""
    for position in reversed(range(len(items))):
        item = items[position]
        if item.get("generation_token_ids") and item.get("prompt_token_ids"):
            return item["prompt_token_ids"] + item["generation_token_ids"], position + 1
    return None, 0


def responses_reply(body: Json, turn: Turn, reply: Json, model: str) -> Json:
    """A reply as a ``response`` object."""
    items, usage = reply["items"], reply["usage"]
    if wants_tokens(body):
        items = [*items[:-1], items[-1] | _triplet(turn, reply)]
    cut = reply["finish_reason"] in ("length", "context_window")
    defaults: Json = {"instructions": None, "max_output_tokens": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0}
    asked = {key: value if body.get(key) is None else body[key] for key, value in defaults.items()}
    return asked | {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "error": None,
        "model": model,
        "output": items,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "text": body.get("text") or {"format": {"type": "text"}},
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": usage["cached_tokens"]},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": usage["reasoning_tokens"]},
            "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"],
        },
    }


def chat_reply(body: Json, turn: Turn, reply: Json, model: str, token_texts: TokenTexts) -> Json:
    """A reply as a ``chat.completion`` object."""
    usage, tokens = reply["usage"], reply["tokens"]
    message = chat_messages(reply["items"])[0]
    finish = _FINISH.get(reply["finish_reason"], reply["finish_reason"])
    choice: Json = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    completion: Json = {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": usage["prompt_tokens"],
            "completion_tokens": usage["completion_tokens"],
            "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"],
            "prompt_tokens_details": {"cached_tokens": usage["cached_tokens"]},
            "completion_tokens_details": {"reasoning_tokens": usage["reasoning_tokens"]},
        },
    }
    if body.get("logprobs") and tokens:
        texts_of = token_ids_as_text if body.get("return_tokens_as_token_ids") else token_texts
        texts = texts_of(tokens["sampled"])
        choice["logprobs"] = {"content": [_logprob(*pair) for pair in zip(texts, tokens["logprobs"], strict=True)]}
    if wants_tokens(body) and tokens:
        triplet = _triplet(turn, reply)
        message.update(triplet)
        completion["prompt_token_ids"], choice["token_ids"] = triplet["prompt_token_ids"], tokens["sampled"]
    return completion


def wants_tokens(body: Json) -> bool:
    """True when the request asks for token ids, in vLLM's way or in NeMo-RL's."""
    return bool(body.get("return_token_ids") or (body.get("logprobs") and body.get("return_tokens_as_token_ids")))


def _triplet(turn: Turn, reply: Json) -> Json:
    tokens = reply["tokens"]
    if tokens is None:
        return {}
    prompt = (turn.get("prefix") or [])[: tokens["kept"]] + tokens["suffix"]
    return {
        "prompt_token_ids": prompt,
        "generation_token_ids": tokens["sampled"],
        "generation_log_probs": tokens["logprobs"],
    }


def token_ids_as_text(ids: list[int]) -> list[str]:
    """``token_id:123``, vLLM's way to name a token by its id."""
    return [f"token_id:{token}" for token in ids]


def _logprob(text: str, logprob: float) -> Json:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}
