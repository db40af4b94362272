"""What an endpoint answered, as a :class:`ModelReply`: pure functions, one per dialect.

Invariants: a reply that leaves here has at least one item, unless it is ``CONTEXT_WINDOW``; items carry no
token fields; anything malformed raises :class:`CallFailure` (``model_invalid_response``), never KeyError.
Shapes: the OpenAI API reference, vLLM's chat protocol.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson

from gym_ray.models.exact import chat_tokens, item_tokens
from gym_ray.models.failure import CallFailure, invalid_reply
from gym_ray.models.protocol import ModelReply
from gym_ray.types.errors import FailureKind, RolloutError, Stage, describe
from gym_ray.types.items import Item, assistant_message, function_call, reasoning
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Usage

Json = dict[str, Any]
_MALFORMED = (KeyError, IndexError, TypeError, AttributeError)

_CHAT_REASONS = {
    "stop": FinishReason.STOP,
    "tool_calls": FinishReason.STOP,
    "function_call": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "repetition": FinishReason.LENGTH,
}


def context_window(usage: Usage | None = None) -> ModelReply:
    """The reply that stands for "the prompt does not fit"."""
    return ModelReply([], FinishReason.CONTEXT_WINDOW, usage or Usage())


def finished(items: list[Item], reason: FinishReason, usage: Usage, tokens: TurnTokens | None) -> ModelReply:
    """The reply, if its exact tokens (where known) say that something was sampled.

    Raises:
        RolloutError: nothing was (kind ``empty_generation``).
    """
    if tokens is not None and not tokens.sampled:
        if reason is FinishReason.LENGTH:
            return context_window(usage)  # the prompt fits, but not one token after it
        raise RolloutError(
            FailureKind.EMPTY_GENERATION, Stage.MODEL, "the model sampled no token at all", terminal=False
        )
    return ModelReply(items, reason, usage, tokens)


def chat_reply(data: Json, *, split_think: bool = False) -> ModelReply:
    """A Chat Completions reply. ``split_think``: ``<think>...</think>`` in the text becomes a reasoning item.

    Raises:
        CallFailure: it is malformed, or the engine gave up on it.
        RolloutError: exact tokens say that nothing was sampled, or logprobs are NaN.
    """
    try:
        choice = data["choices"][0]
        if choice.get("error"):
            # Routers put another server's error beside half an answer.
            _gave_up(choice["error"])
        if choice.get("message") is None and choice.get("finish_reason") == "content_filter":
            choice = {**choice, "message": {}}  # a filter may leave nothing at all
        message = choice["message"]
        items = _chat_items(message, data.get("id") or uuid4().hex, split_think)
        if message.get("routed_experts") is not None:
            # Which experts served each token, for trainers that replay the routing; passed on as it is.
            items[-1]["routed_experts"] = message["routed_experts"]
        reason = _chat_reason(choice.get("finish_reason"), items)
        return finished(items, reason, _chat_usage(data.get("usage") or {}), chat_tokens(data, choice))
    except _MALFORMED as error:
        raise invalid_reply(f"the reply is no chat completion: {describe(error)}") from None


def _chat_items(message: Json, reply_id: str, split_think: bool) -> list[Item]:
    content = message.get("content")
    text = _flat(content)
    thought = message.get("reasoning_content") or message.get("reasoning") or _thinking(content)
    if split_think and not thought:
        thought, text = _split(text)
    items = [reasoning(thought, f"rs_{reply_id}")] if thought else []
    calls = message.get("tool_calls") or ()
    refusal = message.get("refusal")
    if text or refusal or not (calls or thought):
        item = assistant_message(text, f"msg_{reply_id}")
        if refusal:
            item["content"] = [*(item["content"] if text else ()), {"type": "refusal", "refusal": refusal}]
        items.append(item)
    items += [_call(call) for call in calls]
    return items


def _flat(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or "" for part in content)


def _thinking(content: Any) -> str:
    """Thoughts among the parts of the content, as Mistral gives them."""
    if not isinstance(content, list):
        return ""
    return "".join(_flat(part.get("thinking")) for part in content if part.get("type") == "thinking")


def _split(text: str) -> tuple[str, str]:
    # Templates may open the tag in the prompt, so that only its end is in the text.
    before, tag, after = text.partition("</think>")
    if not tag:
        return "", text
    return before.lstrip().removeprefix("<think>").strip("\n"), after.lstrip("\n")


def _call(call: Json) -> Item:
    function = call["function"]
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = orjson.dumps(arguments or {}).decode()
    return function_call(function["name"], arguments, call.get("id") or f"call_{uuid4().hex}")


def _chat_reason(given: Any, items: list[Item]) -> FinishReason:
    if given in ("abort", "error"):
        reason = f"the engine gave up on the call (finish_reason {given!r})"
        raise CallFailure(FailureKind.PROVIDER_UNAVAILABLE, reason)
    return _or_tools(_CHAT_REASONS.get(given, FinishReason.STOP), items)


def _gave_up(error: Any) -> None:
    message = error.get("message") if isinstance(error, dict) else error
    raise CallFailure(FailureKind.PROVIDER_UNAVAILABLE, f"the provider gave up on the call: {message}"[:500])


def _or_tools(reason: FinishReason, items: list[Item]) -> FinishReason:
    """STOP becomes TOOL_CALLS if a call is there, whatever name the server has for it."""
    if reason is FinishReason.STOP and any(item.get("type") == "function_call" for item in items):
        return FinishReason.TOOL_CALLS
    return reason


def _chat_usage(usage: Json) -> Usage:
    prompt, completion = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return Usage(
        usage.get("prompt_tokens") or 0,
        usage.get("completion_tokens") or 0,
        prompt.get("cached_tokens") or 0,
        completion.get("reasoning_tokens") or 0,
    )


def responses_reply(data: Json) -> ModelReply:
    """A Responses reply. Items of all kinds are kept as they are: the same endpoint understands them.

    Raises:
        CallFailure: it is malformed, or its status is ``failed``.
        RolloutError: as :func:`chat_reply`.
    """
    try:
        if data.get("status", "completed") not in ("completed", "incomplete"):
            return _unfinished(data)
        items: list[Item] = [item for item in data["output"] if isinstance(item["type"], str)]
        tokens = item_tokens(items)
        reason = FinishReason.STOP
        if data.get("status") == "incomplete":
            filtered = (data.get("incomplete_details") or {}).get("reason") == "content_filter"
            reason = FinishReason.CONTENT_FILTER if filtered else FinishReason.LENGTH
        if not items:
            items = [assistant_message("", f"msg_{data.get('id') or uuid4().hex}")]
        return finished(items, _or_tools(reason, items), _responses_usage(data.get("usage") or {}), tokens)
    except _MALFORMED as error:
        raise invalid_reply(f"the reply is no response object: {describe(error)}") from None


def _unfinished(data: Json) -> ModelReply:
    error = data.get("error") or {}
    code, message = error.get("code") or "", str(error.get("message") or "no message")
    if code == "context_length_exceeded":
        return context_window()
    quota = code == "rate_limit_exceeded"
    kind = FailureKind.PROVIDER_QUOTA_EXHAUSTED if quota else FailureKind.PROVIDER_UNAVAILABLE
    raise CallFailure(kind, f"status {data['status']!r}: {code} {message}", overload=quota)


def _responses_usage(usage: Json) -> Usage:
    given, sampled = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details") or {}
    return Usage(
        usage.get("input_tokens") or 0,
        usage.get("output_tokens") or 0,
        given.get("cached_tokens") or 0,
        sampled.get("reasoning_tokens") or 0,
    )
