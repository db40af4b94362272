"""Response items: the OpenAI Responses API's list of things that were said and done.

On the hot path an item is a plain JSON object (``dict``), because a rollout touches each one several
times and object round trips are most of what other systems spend. The functions here are the only
place that knows the shapes. Item kinds used: ``message``, ``reasoning``, ``function_call``,
``function_call_output``. Source of the shapes: the OpenAI Responses API reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Item = dict[str, Any]
"""One JSON object with a ``type`` (an "easy" input message ``{role, content}`` may lack it)."""

TOKEN_FIELDS = ("prompt_token_ids", "generation_token_ids", "generation_log_probs")
"""The token triplet that NeMo Gym and NeMo-RL carry on the last item of each model call."""


def user_message(text: str) -> Item:
    """An input message from the user."""
    return {"type": "message", "role": "user", "content": text}


def assistant_message(text: str, item_id: str = "msg_0") -> Item:
    """An output message of the model."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": item_id, "role": "assistant", "status": "completed", "content": content}


def reasoning(text: str, item_id: str = "rs_0") -> Item:
    """An output item that holds what the model thought before it answered."""
    return {"type": "reasoning", "id": item_id, "summary": [{"type": "summary_text", "text": text}]}


def function_call(name: str, arguments: str, call_id: str) -> Item:
    """A tool call by the model. ``arguments`` is the JSON text exactly as sampled."""
    return {
        "type": "function_call",
        "id": call_id,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }


def function_call_output(call_id: str, output: str) -> Item:
    """What a tool answered."""
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def item_text(item: Item) -> str:
    """All text of a message or reasoning item, parts joined without a separator; else ``""``."""
    if item.get("type") == "reasoning":
        return "".join(part.get("text", "") for part in item.get("summary") or item.get("content") or ())
    content = item.get("content")
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or () if isinstance(part, dict))


def is_assistant_message(item: Item) -> bool:
    """True for a message that the model wrote."""
    return item.get("role") == "assistant" and item.get("type", "message") == "message"


def function_calls(items: Iterable[Item]) -> list[Item]:
    """The ``function_call`` items, in order."""
    return [item for item in items if item.get("type") == "function_call"]


def final_text(items: list[Item]) -> str:
    """Text of the last assistant message, ``""`` when there is none."""
    for item in reversed(items):
        if is_assistant_message(item):
            return item_text(item)
    return ""


def output_text(items: Iterable[Item]) -> str:
    """Text of all assistant messages joined without a separator: the Responses API's ``output_text``."""
    return "".join(item_text(item) for item in items if is_assistant_message(item))


def input_items(params: dict[str, Any]) -> list[Item]:
    """``responses_create_params.input`` as a list of items (a string is one user message).

    ``instructions`` becomes a leading system message, as the API defines it.
    """
    given = params["input"]
    items = [user_message(given)] if isinstance(given, str) else list(given)
    if params.get("instructions"):
        items.insert(0, {"type": "message", "role": "system", "content": params["instructions"]})
    return items
