"""Exact token ids of a call: how they are asked for, and where a reply carries them.

Two servers give them over Chat Completions. Stock vLLM: ``return_token_ids`` puts ``prompt_token_ids`` on
the reply and ``token_ids`` on the choice, logprobs are the standard ones. NeMo-RL's generation server: all
three lists stand on the message, and the client sends them back on the assistant message they belong to, so
that the server can splice the exact history into the next prompt. Older servers of both kinds only name the
sampled tokens of the logprobs ``token_id:123``; the prompt's ids are then asked for at ``/tokenize``.
"""

from __future__ import annotations

from math import nan
from typing import Any

from gym_ray.models.failure import invalid_reply
from gym_ray.types.errors import FailureKind, RolloutError, Stage
from gym_ray.types.items import TOKEN_FIELDS, Item
from gym_ray.types.tokens import TurnTokens

Json = dict[str, Any]

_NAMED = "token_id:"
ASK_NEMO_RL: Json = {"logprobs": True, "top_logprobs": 0, "return_tokens_as_token_ids": True}
ASK_VLLM: Json = {**ASK_NEMO_RL, "return_token_ids": True}
"""``top_logprobs`` must be 0, not null: null silently gives no ids."""


def chat_tokens(data: Json, choice: Json) -> TurnTokens | None:
    """Tokens of a chat reply, None when it has none. ``prompt`` is empty when only the sampled ids are known."""
    message = choice["message"]
    if message.get("prompt_token_ids") is not None:
        return _triplet(message)
    content = (choice.get("logprobs") or {}).get("content") or []
    sampled = choice.get("token_ids")
    if sampled is None:
        sampled = _named_ids(content)
    if sampled is None:
        return None
    prompt = data.get("prompt_token_ids") or choice.get("prompt_token_ids") or []
    return checked(TurnTokens(prompt, sampled, [entry["logprob"] for entry in content]))


def _named_ids(content: list[Json]) -> list[int] | None:
    names = [entry["token"] for entry in content]
    if not names or not all(name.startswith(_NAMED) for name in names):
        return None
    return [int(name.removeprefix(_NAMED)) for name in names]


def tokenize_body(body: Json, last: TurnTokens | None) -> Json:
    """The request to ``/tokenize`` for the prompt of the chat request ``body``, ``last`` being the call before it."""
    fields = ("model", "messages", "tools", "chat_template_kwargs", "mm_processor_kwargs")
    asked = {name: body[name] for name in fields if name in body}
    prefix = {} if last is None else {"required_prefix_token_ids": last.prompt + last.sampled}
    return {**asked, "add_generation_prompt": True, **prefix}


def item_tokens(items: list[Item]) -> TurnTokens | None:
    """Tokens of a Responses reply, taken off its items: the last one that has the triplet."""
    tokens = None
    for item in items:
        if "prompt_token_ids" in item:
            if item["prompt_token_ids"] is not None:
                tokens = _triplet(item)
            for name in TOKEN_FIELDS:
                item.pop(name, None)
    return tokens


def _triplet(source: Json) -> TurnTokens:
    prompt, sampled, logprobs = (source.get(name) for name in TOKEN_FIELDS)
    if prompt is None or sampled is None or logprobs is None:
        raise invalid_reply("the reply has some of the three token fields, but not all")
    if sampled and isinstance(sampled[0], str):
        sampled = [int(token.removeprefix(_NAMED)) for token in sampled]
    return checked(TurnTokens(prompt, sampled, logprobs))


def checked(tokens: TurnTokens) -> TurnTokens:
    """``tokens``, if they can be trained on.

    Raises:
        RolloutError: a logprob is NaN or null (``nan_logprob``), or the counts differ.
    """
    if len(tokens.sampled) != len(tokens.logprobs):
        reason = f"the reply has {len(tokens.sampled)} sampled ids but {len(tokens.logprobs)} logprobs"
        raise invalid_reply(reason)
    try:
        # One pass in C: a sum is NaN if any term is. A null, which is how pydantic writes NaN, cannot be added.
        total = sum(tokens.logprobs)
    except TypeError:
        total = nan
    if total != total:
        reason = "the logprob of a sampled token is NaN: the model's numbers are broken"
        raise RolloutError(FailureKind.NAN_LOGPROB, Stage.MODEL, reason)
    return tokens


def carry(tokens: TurnTokens, holder: Json) -> None:
    """Put the triplet of the previous call on the message (or item) that it produced."""
    holder.update(zip(TOKEN_FIELDS, (tokens.prompt, tokens.sampled, tokens.logprobs), strict=True))
