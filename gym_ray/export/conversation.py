"""A rollout as chat messages: what all conversational formats are made of.

Invariants: messages are those that the model saw and wrote (``models.chat``), none reordered; an example ends with
what the model said, so a tool's answer that nothing followed is cut off; reasoning is where ``reasoning`` says.
What has no such form raises :class:`Unfit`, with a reason that is the same for all of its kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from gym_ray.export.settings import ExportSettings
from gym_ray.models.chat import chat_messages, chat_params
from gym_ray.runs.rollouts import StoredRollout
from gym_ray.types.errors import RolloutError
from gym_ray.types.items import Item

Json = dict[str, Any]


class Unfit(Exception):
    """A rollout, pair or task that a format cannot carry. ``str(error)``: why, without anything of its own."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """``messages``: the whole of it. ``begin``: how many of them the rollout began with. ``tools``: nested specs."""

    messages: list[Json]
    begin: int
    tools: list[Json]


def conversation(rollout: StoredRollout, settings: ExportSettings) -> Conversation:
    """The rollout as messages, arguments of tool calls as JSON objects.

    Raises:
        Unfit: no answer in it, or an item has no chat form.
    """
    prompt, whole = messages_of(rollout.input, settings), messages_of([*rollout.input, *rollout.items], settings)
    if whole[: len(prompt)] != prompt:
        raise Unfit("the answer goes on within the prompt's last message")
    while len(whole) > len(prompt) and whole[-1]["role"] != "assistant":
        whole.pop()
    if not prompt or len(whole) == len(prompt):
        raise Unfit("no prompt, or no answer")
    return Conversation(whole, len(prompt), tools_of(rollout.tools))


def messages_of(items: list[Item], settings: ExportSettings) -> list[Json]:
    """Items as messages. Raises Unfit."""
    try:
        return [_message(message, settings.reasoning) for message in chat_messages(items)]
    except RolloutError as error:
        raise Unfit(error.reason) from error


def tools_of(tools: list[Json]) -> list[Json]:
    """Function specs in chat form (``{type, function: {name, ...}}``). Raises Unfit."""
    try:
        found: list[Json] = chat_params({"tools": tools}).get("tools", [])
    except RolloutError as error:
        raise Unfit(error.reason) from error
    return found


def _message(message: Json, reasoning: str) -> Json:
    made = {"role": message["role"], "content": message["content"]}
    thought = message.get("reasoning_content")
    if thought and reasoning == "inline":
        made["content"] = _with_thought(thought, made["content"])
    elif thought and reasoning == "field":
        made["reasoning_content"] = thought
    if "tool_calls" in message:
        made["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    if "tool_call_id" in message:
        made["tool_call_id"] = message["tool_call_id"]
    return made


def _with_thought(thought: str, content: Any) -> Any:
    """The way that Qwen3, DeepSeek-R1 and Nemotron templates write it."""
    text = f"<think>\n{thought}\n</think>"
    if isinstance(content, list):
        return [{"type": "text", "text": f"{text}\n\n"}, *content]
    return f"{text}\n\n{content}" if content else text


def _call(call: Json) -> Json:
    """Arguments as an object, which is what templates print right; as the text they are when they are none."""
    function = call["function"]
    arguments = function["arguments"]
    if isinstance(arguments, str):
        try:
            parsed = orjson.loads(arguments)
        except orjson.JSONDecodeError:
            parsed = None
        arguments = parsed if isinstance(parsed, dict) else arguments
    return {"id": call.get("id"), "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def as_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def where_they_part(chosen: Conversation, rejected: Conversation) -> int:
    """Index of the assistant message at which two conversations of one task part.

    Raises:
        Unfit: they began differently, or say the same.
    """
    one, other, begin = chosen.messages, rejected.messages, chosen.begin
    same = [_bare(message) for message in one], [_bare(message) for message in other]
    if begin != rejected.begin or same[0][:begin] != same[1][:begin]:
        raise Unfit("the two began with different prompts")
    if same[0] == same[1]:
        raise Unfit("the two say the same")
    at = next((at for at, (a, b) in enumerate(zip(*same, strict=False)) if a != b), min(len(one), len(other)) - 1)
    while at > begin and not one[at]["role"] == other[at]["role"] == "assistant":
        at -= 1
    if not one[at]["role"] == other[at]["role"] == "assistant":
        raise Unfit("the two part before the model said anything")
    return at


def _bare(message: Json) -> Json:
    """A message without the ids of calls, which differ from rollout to rollout."""
    calls = [call["function"] for call in message.get("tool_calls", ())]
    return {**message, "tool_calls": calls, "tool_call_id": None}
