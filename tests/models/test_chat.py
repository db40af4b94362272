"""Responses items to chat messages and back: nothing lost, nothing reordered, nothing silently dropped."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gym_ray.models.chat import chat_messages, chat_params, extra_fields
from gym_ray.models.reply import chat_reply
from gym_ray.types.errors import FailureKind, RolloutError
from gym_ray.types.items import function_call, function_call_output, reasoning, user_message

words = st.text(min_size=1, max_size=12)
tool_calls = st.lists(st.tuples(st.sampled_from(["add", "find"]), words), max_size=3)


@st.composite
def assistant_messages(draw: st.DrawFn) -> dict[str, Any]:
    """A chat message as servers send it and as clients send it back: one normal form."""
    message: dict[str, Any] = {"role": "assistant"}
    thought, text, calls = draw(st.none() | words), draw(st.none() | words), draw(tool_calls)
    if thought:
        message["reasoning_content"] = message["reasoning"] = thought
    message["content"] = text or (None if calls else "")
    if calls:
        number = draw(st.integers(0, 10**9))
        message["tool_calls"] = [
            {"id": f"c{number}_{place}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for place, (name, arguments) in enumerate(calls)
        ]
    return message


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": draw(words)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 4))):
        messages.append({"role": "user", "content": draw(words)})
        messages.append(draw(assistant_messages()))
        for call in messages[-1].get("tool_calls", ()):
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": draw(words)})
    return messages


@settings(max_examples=300)
@given(conversations())
def test_a_conversation_made_of_replies_renders_to_the_same_messages(messages: list[dict[str, Any]]) -> None:
    items: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            items += chat_reply({"id": f"r{number}", "choices": [{"message": message, "finish_reason": "stop"}]}).items
        elif message["role"] == "tool":
            items.append(function_call_output(message["tool_call_id"], message["content"]))
        else:
            items.append({"type": "message", **message})
    assert chat_messages(items) == messages
    before = json.dumps(items)
    chat_messages(items)
    assert json.dumps(items) == before, "items are not changed"
    # Where a conversation is cut changes nothing, as long as no assistant message is cut in two.
    for cut, item in enumerate(items):
        if item.get("role") == "user" and cut > 1:
            assert chat_messages(items[:cut]) + chat_messages(items[cut:]) == messages


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["say", "think", "call", "output", "user", "system", "refuse"]), max_size=12))
def test_every_text_arrives_exactly_once(kinds: list[str]) -> None:
    make = {
        "say": lambda t: {"role": "assistant", "type": "message", "content": [{"type": "output_text", "text": t}]},
        "think": reasoning,
        "call": lambda t: function_call("f", t, f"id-{t}"),
        "output": lambda t: function_call_output("id-x", t),
        "user": user_message,
        "system": lambda t: {"role": "system", "content": t},
        "refuse": lambda t: {"role": "assistant", "content": [{"type": "refusal", "refusal": t}]},
    }
    texts = [f"<{number}>" for number in range(len(kinds))]
    messages = chat_messages([make[kind](text) for kind, text in zip(kinds, texts, strict=True)])
    for message in messages:
        message.pop("reasoning", None)  # the second name of the same text
    sent = json.dumps(messages)
    for kind, text in zip(kinds, texts, strict=True):
        assert sent.count(f"{text}") == (2 if kind == "call" else 1)
    for message in messages:
        assert message["role"] != "assistant" or message["content"] is not None or message["tool_calls"]


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def shape(items: list[dict[str, Any]]) -> list[str]:
    """One letter per part: r(easoning), t(ext), c(all); one word per message."""
    shapes = []
    for message in chat_messages(items):
        parts = (
            "r" * ("reasoning" in message) + "t" * bool(message["content"]) + "c" * len(message.get("tool_calls", ()))
        )
        shapes.append(parts if message["role"] == "assistant" else message["role"])
    return shapes


@pytest.mark.parametrize(
    ("items", "shapes"),
    [
        ([reasoning("a"), said("b"), function_call("f", "{}", "1")], ["rtc"]),
        ([reasoning("a"), function_call("f", "{}", "1"), function_call("f", "{}", "2")], ["rcc"]),
        ([said("a"), said("b")], ["t", "t"]),
        ([reasoning("a"), reasoning("b"), said("c")], ["r", "rt"]),
        ([reasoning("a"), said("b"), reasoning("c"), function_call("f", "{}", "1")], ["rt", "rc"]),
        # Outputs must follow calls directly, so what comes between is pulled into the calling message.
        (
            [
                function_call("f", "{}", "1"),
                reasoning("a"),
                function_call("f", "{}", "2"),
                function_call_output("1", "x"),
            ],
            ["rcc", "tool"],
        ),
        ([said("a"), user_message("b"), said("c")], ["t", "user", "t"]),
        ([{"type": "reasoning", "summary": [], "encrypted_content": "x"}, said("a")], ["t"]),
    ],
)
def test_what_the_model_wrote_together_is_one_message(items: list[dict[str, Any]], shapes: list[str]) -> None:
    assert shape(items) == shapes


def test_leading_system_messages_become_one() -> None:
    items = [{"role": "system", "content": "A"}, {"role": "system", "content": "B"}, user_message("q")]
    assert chat_messages(items)[0] == {"role": "system", "content": "A\n\nB"}
    assert [m["role"] for m in chat_messages([{"role": "developer", "content": "A"}, items[0]])] == [
        "developer",
        "system",
    ]


def test_all_content_shapes() -> None:
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "http://i/1.png", "detail": "low"},
        {"type": "input_image", "image_url": "data:x"},
        {"type": "input_video", "video_url": "http://v/1.mp4"},
        {"type": "input_file", "file_data": "data:y", "filename": "a.pdf"},
        {"type": "input_audio", "input_audio": {"data": "zz", "format": "wav"}},
    ]
    assert chat_messages([{"role": "user", "content": parts}])[0]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "http://i/1.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:x"}},
        {"type": "video_url", "video_url": {"url": "http://v/1.mp4"}},
        {"type": "file", "file": {"file_data": "data:y", "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "zz", "format": "wav"}},
    ]
    assert chat_messages([{"role": "user", "content": parts[:1]}])[0]["content"] == "look"
    refusal = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    assert chat_messages([refusal])[0]["content"] == [{"type": "refusal", "refusal": "no"}]
    inline = [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "tool_call_id": "1", "content": "x"},
    ]
    assert chat_messages(inline) == [{**inline[0], "content": ""}, inline[1]]
    output = {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "5"}]}
    assert chat_messages([output]) == [{"role": "tool", "tool_call_id": "1", "content": "5"}]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "web_search_call", "id": "w", "status": "completed"},
        {"type": "mcp_call", "id": "m"},
        {"type": "item_reference", "id": "i"},
        {"role": "critic", "content": "x"},
        {"role": "user", "content": [{"type": "input_image", "file_id": "f"}]},
        {"role": "user", "content": [{"type": "input_file", "file_url": "http://f"}]},
        {"role": "assistant", "content": [{"type": "output_image"}]},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_image", "image_url": "u"}]},
    ],
)
def test_what_chat_cannot_carry_raises(item: dict[str, Any]) -> None:
    with pytest.raises(RolloutError, match="cannot be sent over Chat Completions") as caught:
        chat_messages([user_message("q"), item])
    assert caught.value.kind == FailureKind.MODEL_REJECTED_REQUEST
    assert caught.value.terminal


def test_parameters() -> None:
    tool = {"type": "function", "name": "add", "description": "d", "parameters": {"type": "object"}, "strict": True}
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": None}
    given = {
        "max_output_tokens": 7,
        "temperature": 0.5,
        "seed": 3,
        "top_p": None,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": schema, "verbosity": "low"},
        "tools": [tool],
        "tool_choice": {"type": "function", "name": "add"},
        "parallel_tool_calls": False,
        "top_logprobs": 2,
        "metadata": {"split": "train"},
        "truncation": "auto",
        "background": False,
    }
    assert chat_params(given) == {
        "max_tokens": 7,
        "temperature": 0.5,
        "seed": 3,
        "reasoning_effort": "low",
        "verbosity": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
        "tools": [
            {"type": "function", "function": {"name": "add", "description": "d", "parameters": {"type": "object"}}}
        ],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "parallel_tool_calls": False,
        "logprobs": True,
        "top_logprobs": 2,
    }


def test_tool_settings_without_tools() -> None:
    assert chat_params({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}) == {}
    with pytest.raises(RolloutError, match="at least one tool"):
        chat_params({"tool_choice": "required"})


@pytest.mark.parametrize("params", [{"tools": [{"type": "web_search"}]}, {"previous_response_id": "r"}, {"prompt": {}}])
def test_server_side_state_and_hosted_tools_raise(params: dict[str, Any]) -> None:
    with pytest.raises(RolloutError, match="cannot be sent"):
        chat_params(params)


def test_a_rows_extra_fields_lie_over_the_settings() -> None:
    configured = {"top_k": 5, "min_p": 0.1, "chat_template_kwargs": {"a": 1, "b": 1}}
    metadata = {"extra_body": '{"top_k": 9}', "chat_template_kwargs": '{"b": 2}', "note": "x"}
    assert extra_fields({"metadata": metadata}, configured) == {
        "top_k": 9,
        "min_p": 0.1,
        "chat_template_kwargs": {"a": 1, "b": 2},
    }
    assert configured["chat_template_kwargs"] == {"a": 1, "b": 1}
    with pytest.raises(RolloutError, match=r"metadata\.extra_body") as caught:
        extra_fields({"metadata": {"extra_body": "[1"}}, {})
    assert caught.value.kind == FailureKind.BAD_TASK
