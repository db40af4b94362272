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
from gym_ray.models.serve.fields import token_ids, turn_params
from gym_ray.models.serve.sampling import rejected
from gym_ray.types.items import TOKEN_FIELDS, Item, input_items, reasoning

Json = dict[str, Any]
TokenTexts = Callable[[list[int]], list[str]]

TEXT_LOGPROBS = "message.output_text.logprobs"
_FINISH = {"context_window": "length"}
_DEFAULTS: Json = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
}


def responses_turn(body: Json) -> Turn:
    """A Responses request as a turn."""
    if not isinstance(body.get("input"), str | list):
        raise rejected("`input` must be a string or a list of items")
    return _turn(body, _objects(input_items(body), "input"))


def chat_turn(body: Json) -> Turn:
    """A Chat Completions request as a turn."""
    if not isinstance(body.get("messages"), list):
        raise rejected("`messages` must be a list")
    return _turn(body, [item for message in _objects(body["messages"], "messages") for item in _chat_items(message)])


def _turn(body: Json, items: list[Item]) -> Turn:
    prefix, covered = _exact_history(items)
    return {"params": turn_params(body), "items": items, "session": None, "prefix": prefix, "covered": covered}


def _objects(items: list[Any], name: str) -> list[Json]:
    if not items or not all(isinstance(item, dict) for item in items):
        raise rejected(f"`{name}` must hold objects, at least one")
    return items


def _chat_items(message: Json) -> list[Item]:
    thought = message.get("reasoning_content") or message.get("reasoning")
    return [reasoning(thought), message] if thought and message.get("role") == "assistant" else [message]


def _exact_history(items: list[Item]) -> tuple[list[int] | None, int]:
    """Ids of the last model call that travels with its tokens, and how many items they stand for."""
    for position in reversed(range(len(items))):
        item = items[position]
        if item.get("generation_token_ids") and item.get("prompt_token_ids"):
            prompt, sampled = (token_ids(item[name], name) for name in TOKEN_FIELDS[:2])
            return prompt + sampled, position + 1
    return None, 0


def response_head() -> Json:
    """Identity of a new ``response`` object."""
    return {"id": f"resp_{uuid4().hex}", "object": "response", "created_at": int(time.time())}


def response_begun(body: Json, model: str, head: Json) -> Json:
    """A ``response`` object that is under way."""
    asked = {key: value if body.get(key) is None else body[key] for key, value in _DEFAULTS.items()}
    state: Json = {"status": "in_progress", "incomplete_details": None, "error": None, "output": [], "usage": None}
    return {**asked, **head, "model": model, **state}


def response_done(body: Json, turn: Turn, reply: Json, model: str, head: Json, token_texts: TokenTexts) -> Json:
    """A whole ``response`` object."""
    usage = reply["usage"]
    cut = reply["finish_reason"] in ("length", "context_window")
    return response_begun(body, model, head) | {
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": _output(body, turn, reply, token_texts),
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": usage["cached_tokens"], "cache_write_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": usage["reasoning_tokens"]},
            "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"],
        },
    }


def _output(body: Json, turn: Turn, reply: Json, token_texts: TokenTexts) -> list[Item]:
    """The items; logprobs, of all that was sampled, stand on the message, as vLLM has it."""
    items, tokens = list(reply["items"]), reply["tokens"]
    if tokens and TEXT_LOGPROBS in (body.get("include") or ()):
        entries = logprob_entries(tokens["sampled"], tokens["logprobs"], tokens.get("top"), token_texts)
        for position, item in enumerate(items):
            if item["type"] == "message":
                items[position] = {**item, "content": [{**part, "logprobs": entries} for part in item["content"]]}
    if wants_tokens(body):
        items[-1] = items[-1] | triplet(turn, reply)
    return items


def chat_head(model: str, kind: str) -> Json:
    """Identity of a new ``chat.completion`` or ``chat.completion.chunk`` object."""
    return {"id": f"chatcmpl-{uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def chat_usage(reply: Json) -> Json:
    """The ``usage`` of Chat Completions."""
    usage = reply["usage"]
    return {
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"],
        "prompt_tokens_details": {"cached_tokens": usage["cached_tokens"]},
        "completion_tokens_details": {"reasoning_tokens": usage["reasoning_tokens"]},
    }


def chat_finish(reply: Json) -> str:
    """The ``finish_reason`` of Chat Completions."""
    reason: str = reply["finish_reason"]
    return _FINISH.get(reason, reason)


def chat_reply(body: Json, turn: Turn, reply: Json, model: str, token_texts: TokenTexts) -> Json:
    """A reply as a ``chat.completion`` object."""
    tokens, message = reply["tokens"], chat_messages(reply["items"])[0]
    choice: Json = {"index": 0, "message": message, "finish_reason": chat_finish(reply), "logprobs": None}
    completion: Json = {
        **chat_head(model, "chat.completion"),
        "choices": [choice],
        "usage": chat_usage(reply),
    }
    if body.get("logprobs") and tokens:
        texts = chat_token_texts(body, token_texts)
        choice["logprobs"] = {
            "content": logprob_entries(tokens["sampled"], tokens["logprobs"], tokens.get("top"), texts)
        }
    if wants_tokens(body) and tokens:
        exact = triplet(turn, reply)
        message.update(exact)
        completion["prompt_token_ids"], choice["token_ids"] = exact["prompt_token_ids"], tokens["sampled"]
    return completion


def wants_tokens(body: Json) -> bool:
    """True when the request asks for token ids, in vLLM's way or in NeMo-RL's."""
    return bool(body.get("return_token_ids") or (body.get("logprobs") and body.get("return_tokens_as_token_ids")))


def triplet(turn: Turn, reply: Json) -> Json:
    """Ids of the prompt, and ids and logprobs of what was sampled; empty when there are none."""
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


def chat_token_texts(body: Json, token_texts: TokenTexts) -> TokenTexts:
    """How this request wants tokens to be named."""
    return token_ids_as_text if body.get("return_tokens_as_token_ids") else token_texts


def logprob_entries(
    ids: list[int], logprobs: list[float], top: list[dict[int, float]] | None, token_texts: TokenTexts
) -> list[Json]:
    """Logprobs as both APIs show them. ``top``: for each id the most likely ones at its place."""
    entries = [_entry(*pair) for pair in zip(token_texts(ids), logprobs, strict=True)]
    for entry, likely in zip(entries, top or [{}] * len(ids), strict=True):
        entry["top_logprobs"] = [_entry(*pair) for pair in zip(token_texts([*likely]), likely.values(), strict=True)]
    return entries


def _entry(text: str, logprob: float) -> Json:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "surrogatepass"))}
