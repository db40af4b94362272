"""Responses requests as Chat Completions requests: pure functions on plain JSON objects.

Invariants: no item is dropped or reordered; what Chat Completions cannot carry raises. Reasoning, text and
tool calls that the model produced together become one assistant message again, because the template must
see what the model wrote: within one message the order is reasoning, text, calls, so an item that would go
backwards opens a new message (unless calls still wait for their outputs, which must follow them directly).
Shapes: the OpenAI API reference; choices where it is silent (merged system messages, ``strict`` left out,
extra fields in ``metadata``) follow NeMo Gym, so that the same row renders to the same prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from gym_ray.models.failure import unsupported
from gym_ray.types.errors import FailureKind, RolloutError, Stage
from gym_ray.types.items import Item, item_text

Json = dict[str, Any]
_AS_THEY_ARE = frozenset({"user", "principle", "response_1", "response_2"})
"""Roles of input messages; the last three are those of NVIDIA's GenRM templates."""


def chat_messages(items: list[Item]) -> list[Json]:
    """The ``messages`` of a conversation.

    Raises:
        RolloutError: an item has no chat form (hosted tools, references to server-side state).
    """
    messages: list[Json] = []
    for item in items:
        kind = item.get("type") or "message"
        add = _ADD.get(kind)
        if add is None:
            raise unsupported(f"an item of type {kind!r}")
        add(messages, item)
    for message in messages:
        if "content" not in message:
            message["content"] = None if "tool_calls" in message else ""
    return messages


def _add_message(messages: list[Json], item: Item) -> None:
    role = item.get("role")
    if role == "assistant":
        _add_assistant(messages, item)
    elif role in ("system", "developer"):
        content = _content(item.get("content"))
        # Templates want one system message, and `instructions` may have put another in front.
        if len(messages) == 1 and messages[0]["role"] == role and _both_text(messages[0]["content"], content):
            messages[0]["content"] += f"\n\n{content}"
        else:
            messages.append({"role": role, "content": content})
    elif role in _AS_THEY_ARE:
        messages.append({"role": role, "content": _content(item.get("content"))})
    elif role == "tool":
        messages.append({"role": "tool", "tool_call_id": item["tool_call_id"], "content": item.get("content") or ""})
    else:
        raise unsupported(f"a message with role {role!r}")


def _both_text(first: Any, second: Any) -> bool:
    return isinstance(first, str) and isinstance(second, str)


_REASONING, _TEXT, _CALLS = range(3)


def _assistant(messages: list[Json], part: int) -> Json:
    """The assistant message that ``part`` belongs to: the one under way, or a new one."""
    last = messages[-1] if messages else {}
    if last.get("role") == "assistant":
        has = _CALLS if "tool_calls" in last else _TEXT if "content" in last else _REASONING
        if has == _CALLS or part > has:
            return last
    last = {"role": "assistant"}
    messages.append(last)
    return last


def _add_assistant(messages: list[Json], item: Item) -> None:
    message = _assistant(messages, _TEXT)
    text = _assistant_content(item.get("content"))
    message["content"] = _join(message["content"], text) if "content" in message else text
    # A message in chat form may stand among the items as it is.
    if item.get("tool_calls"):
        message.setdefault("tool_calls", []).extend(item["tool_calls"])


def _add_reasoning(messages: list[Json], item: Item) -> None:
    text = item_text(item)
    if not text:
        return  # only an id or an encrypted body: nothing that another server could read
    message = _assistant(messages, _REASONING)
    text = message.get("reasoning", "") + text
    # Both names: `reasoning_content` is the older one, newer vLLM reads `reasoning`.
    message["reasoning_content"] = message["reasoning"] = text


def _add_call(messages: list[Json], item: Item) -> None:
    function = {"name": item["name"], "arguments": item["arguments"]}
    call = {"id": item["call_id"], "type": "function", "function": function}
    _assistant(messages, _CALLS).setdefault("tool_calls", []).append(call)


def _add_output(messages: list[Json], item: Item) -> None:
    output = item.get("output")
    if not isinstance(output, str):
        output = _text_only(output)
    messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": output})


_ADD: dict[str, Callable[[list[Json], Item], None]] = {
    "message": _add_message,
    "reasoning": _add_reasoning,
    "function_call": _add_call,
    "function_call_output": _add_output,
}


def _content(content: Any) -> str | list[Json]:
    """Content of an input message: a string, or a list of chat parts when there is more than one text."""
    if isinstance(content, str):
        return content
    parts = [_part(part) for part in content or ()]
    if len(parts) == 1 and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts or ""


def _assistant_content(content: Any) -> str | list[Json]:
    """Text of an assistant message, parts joined; a list only if it has a refusal."""
    if content is None or isinstance(content, str):
        return content or ""
    if any(part.get("type") == "refusal" for part in content):
        return [part if part.get("type") == "refusal" else _text_part(part) for part in content]
    return "".join(_text_part(part)["text"] for part in content)


def _join(before: str | list[Json], text: str | list[Json]) -> str | list[Json]:
    if isinstance(before, str) and isinstance(text, str):
        return before + text
    return _as_parts(before) + _as_parts(text)


def _as_parts(content: str | list[Json]) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text_part(part: Json) -> Json:
    if part.get("type") not in ("output_text", "input_text", "text"):
        raise unsupported(f"an assistant message's part of type {part.get('type')!r}")
    return {"type": "text", "text": part["text"]}


def _text_only(parts: Any) -> str:
    """Text of a tool's output given as parts; tool messages carry nothing else."""
    texts = [_part(part) for part in parts or ()]
    if any(part["type"] != "text" for part in texts):
        raise unsupported("a tool output with images or files")
    return "".join(part["text"] for part in texts)


def _part(part: Json) -> Json:
    kind = part.get("type")
    if kind in ("input_text", "output_text"):
        return {"type": "text", "text": part["text"]}
    if kind == "input_image" and part.get("image_url"):
        image = {"url": part["image_url"]}
        if part.get("detail"):
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_video":
        return {"type": "video_url", "video_url": {"url": part.get("video_url") or part["video"]}}
    if kind == "input_file" and not part.get("file_url"):
        return {"type": "file", "file": {key: value for key, value in part.items() if key != "type"}}
    if kind in ("text", "image_url", "video_url", "audio_url", "input_audio", "file"):
        return part
    raise unsupported(f"content of type {kind!r}" + (" by file id or address" if kind else ""))


def chat_params(params: Json) -> Json:
    """The other fields of the request. Unknown ones (``seed``, ``stop``, ``top_k``, ...) pass unchanged.

    Raises:
        RolloutError: hosted tools, or a reference to state that lives on the server.
    """
    body: Json = {}
    for key, value in params.items():
        if value is not None:
            convert = _PARAMS.get(key)
            if convert is None:
                body[key] = value
            else:
                convert(body, key, value)
    if "tools" not in body:
        body.pop("parallel_tool_calls", None)
        if body.pop("tool_choice", "auto") not in ("auto", "none"):
            reason = f"tool_choice={params['tool_choice']!r} needs at least one tool"
            raise RolloutError(FailureKind.BAD_TASK, Stage.MODEL, reason)
    return body


def _drop(body: Json, key: str, value: Any) -> None:
    """Means nothing to a single unary call."""


def _refuse(body: Json, key: str, value: Any) -> None:
    raise unsupported(f"`{key}`")


def _max_tokens(body: Json, key: str, value: Any) -> None:
    body["max_tokens"] = value


def _reasoning(body: Json, key: str, value: Any) -> None:
    if value.get("effort"):
        body["reasoning_effort"] = value["effort"]


def _text(body: Json, key: str, value: Any) -> None:
    if value.get("verbosity"):
        body["verbosity"] = value["verbosity"]
    form = value.get("format") or {}
    kind = form.get("type", "text")
    if kind == "json_schema":
        schema = {name: part for name, part in form.items() if name != "type" and part is not None}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind != "text":
        body["response_format"] = form


def _tools(body: Json, key: str, value: Any) -> None:
    if value:
        body["tools"] = [_tool(tool) for tool in value]


def _tool(tool: Json) -> Json:
    if tool.get("type", "function") != "function":
        raise unsupported(f"a tool of type {tool['type']!r}")
    if "function" in tool:
        return tool
    # Without `strict`: templates print tool definitions as they are, and NeMo Gym's prompts have none.
    function = {name: tool[name] for name in ("name", "description", "parameters") if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _tool_choice(body: Json, key: str, value: Any) -> None:
    if isinstance(value, dict) and value.get("type") == "function" and "name" in value:
        value = {"type": "function", "function": {"name": value["name"]}}
    elif isinstance(value, dict) and value.get("type") == "allowed_tools" and "tools" in value:
        tools = [{"type": "function", "function": {"name": tool["name"]}} for tool in value["tools"]]
        value = {"type": "allowed_tools", "allowed_tools": {"mode": value.get("mode", "auto"), "tools": tools}}
    body[key] = value


def _top_logprobs(body: Json, key: str, value: Any) -> None:
    body["logprobs"], body["top_logprobs"] = True, value


_PARAMS: dict[str, Callable[[Json, str, Any], None]] = {
    **dict.fromkeys(("background", "include", "max_tool_calls", "metadata", "stream", "truncation"), _drop),
    **dict.fromkeys(("conversation", "previous_response_id", "prompt"), _refuse),
    "max_output_tokens": _max_tokens,
    "reasoning": _reasoning,
    "text": _text,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "top_logprobs": _top_logprobs,
}
TRANSLATED = frozenset(_PARAMS)
"""Names of the fields that :func:`chat_params` translates, drops or refuses; others pass as they are."""


def extra_fields(params: Json, configured: Json) -> Json:
    """Fields beyond the API, for either dialect: the settings' ``extra_body``, and over it the row's own.

    A row carries them as JSON text, since ``metadata`` holds only strings: ``metadata.extra_body`` and
    ``metadata.chat_template_kwargs`` (NeMo Gym's convention). The latter is merged key by key.

    Raises:
        RolloutError: the text is no JSON object (kind ``bad_task``).
    """
    metadata = params.get("metadata")
    if not metadata:
        return configured
    fields = {**configured, **_json_object(metadata, "extra_body")}
    template = _json_object(metadata, "chat_template_kwargs")
    if template:
        fields["chat_template_kwargs"] = {**(fields.get("chat_template_kwargs") or {}), **template}
    return fields


def _json_object(metadata: Json, key: str) -> Json:
    given = metadata.get(key)
    if not given:
        return {}
    try:
        value = orjson.loads(given) if isinstance(given, str) else given
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RolloutError(FailureKind.BAD_TASK, Stage.MODEL, f"`metadata.{key}` must be a JSON object")
    return value
