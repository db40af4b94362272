"""Conversation items in the form that chat templates read: text contents, tool arguments as objects."""

from __future__ import annotations

from typing import Any

import orjson

from gym_ray.models.chat import chat_messages
from gym_ray.models.serve.sampling import rejected
from gym_ray.types.items import Item, is_assistant_message

Message = dict[str, Any]


def template_messages(items: list[Item]) -> list[Message]:
    """Chat messages as templates want them.

    Raises:
        RolloutError: an item that cannot be shown as text.
    """
    messages = chat_messages(items)
    for message in messages:
        if not isinstance(message["content"], str):
            message["content"] = _text(message["content"])
        if "tool_calls" in message:
            message["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    return messages


def last_turn_start(items: list[Item], end: int) -> int:
    """Index of the first item of the model's turn that ends before ``end``; ``end`` when it is no turn of its."""
    while end and is_output(items[end - 1]):
        end -= 1
    return end


def is_output(item: Item) -> bool:
    """True for what the model said: reasoning, calls and its messages."""
    return item.get("type") in ("reasoning", "function_call") or is_assistant_message(item)


def _text(content: Any) -> str:
    """Parts are joined by newlines, as vLLM does for templates that take strings."""
    parts = content or ()
    other = next((part["type"] for part in parts if part["type"] != "text"), None)
    if other is not None:
        raise rejected(f"this deployment takes text only, not {other!r}")
    return "\n".join(part["text"] for part in parts)


def _call(call: dict[str, Any]) -> dict[str, Any]:
    """A tool call whose arguments are an object; text that is no JSON object becomes an empty one."""
    function = call["function"]
    try:
        arguments = orjson.loads(function["arguments"])
    except orjson.JSONDecodeError:
        arguments = {}
    return {**call, "function": {**function, "arguments": arguments if isinstance(arguments, dict) else {}}}
