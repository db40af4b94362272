"""Replies of both dialects: items, reasons, usage, exact tokens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_ray.models.failure import CallFailure
from gym_ray.models.reply import chat_reply, responses_reply
from gym_ray.models.turn import turn_reply
from gym_ray.types.errors import FailureKind, RolloutError
from gym_ray.types.items import item_text
from gym_ray.types.trajectory import FinishReason, Usage

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def chat(message: dict[str, Any], reason: str | None = "stop", **choice: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": reason, **choice}]}


@pytest.mark.parametrize(
    ("reason", "calls", "expected"),
    [
        ("stop", [], FinishReason.STOP),
        (None, [], FinishReason.STOP),
        ("eos", [], FinishReason.STOP),
        ("tool_calls", [CALL], FinishReason.TOOL_CALLS),
        ("stop", [CALL], FinishReason.TOOL_CALLS),
        ("tool_calls", [], FinishReason.STOP),
        ("length", [CALL], FinishReason.LENGTH),
        ("content_filter", [], FinishReason.CONTENT_FILTER),
    ],
)
def test_finish_reasons(reason: str | None, calls: list[Any], expected: FinishReason) -> None:
    assert chat_reply(chat({"content": "x", "tool_calls": calls}, reason)).finish_reason is expected


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_an_aborted_call_may_be_tried_again(reason: str) -> None:
    with pytest.raises(CallFailure, match="gave up") as caught:
        chat_reply(chat({"content": ""}, reason))
    assert caught.value.retry


def test_what_providers_put_beside_or_instead_of_a_message() -> None:
    with pytest.raises(CallFailure, match="no GPU left"):
        chat_reply(chat({"content": "half"}, "error", error={"code": 502, "message": "no GPU left"}))
    filtered = chat_reply({"choices": [{"index": 0, "finish_reason": "content_filter"}]})
    assert filtered.finish_reason is FinishReason.CONTENT_FILTER
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "ok"}]
    assert [item_text(item) for item in chat_reply(chat({"content": parts})).items] == ["hm", "ok"]


def test_output_items_in_order() -> None:
    reply = chat_reply(chat({"content": "hi", "reasoning": "hm", "tool_calls": [CALL], "refusal": None}))
    assert [item["type"] for item in reply.items] == ["reasoning", "message", "function_call"]
    assert [item_text(item) for item in reply.items[:2]] == ["hm", "hi"]
    assert [item["type"] for item in chat_reply(chat({"content": None})).items] == ["message"]
    assert [item["type"] for item in chat_reply(chat({"content": "", "reasoning_content": "hm"})).items] == [
        "reasoning"
    ]
    refusal = chat_reply(chat({"content": None, "refusal": "no"})).items[0]
    assert refusal["content"] == [{"type": "refusal", "refusal": "no"}]


def test_sloppy_tool_calls_are_repaired() -> None:
    sloppy = {"function": {"name": "f", "arguments": {"a": 1}}}
    first, second = chat_reply(chat({"content": None, "tool_calls": [sloppy, sloppy]})).items
    assert first["arguments"] == '{"a":1}'
    assert first["call_id"] != second["call_id"]


@pytest.mark.parametrize(
    ("text", "thought", "rest"),
    [
        ("<think>\nhm\n</think>\n\nB", "hm", "B"),
        ("hm</think>B", "hm", "B"),
        ("<think>never ends", "", "<think>never ends"),
        ("B", "", "B"),
    ],
)
def test_think_tags_are_split_only_when_asked(text: str, thought: str, rest: str) -> None:
    items = chat_reply(chat({"content": text}), split_think=True).items
    assert "".join(item_text(item) for item in items if item["type"] == "reasoning") == thought
    assert item_text(items[-1]) == rest
    assert [item_text(item) for item in chat_reply(chat({"content": text})).items] == [text]


def test_usage_with_and_without_details() -> None:
    data = chat({"content": "x"})
    data["usage"] = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert chat_reply(data).usage == Usage(10, 5, 4, 3)
    data["usage"] = {"prompt_tokens": 10, "completion_tokens": None, "prompt_tokens_details": None}
    assert chat_reply(data).usage == Usage(10, 0, 0, 0)
    given, made = {"cached_tokens": 1}, {"reasoning_tokens": 2}
    usage = {"input_tokens": 7, "output_tokens": 8, "input_tokens_details": given, "output_tokens_details": made}
    assert responses_reply({"output": [], "usage": usage}).usage == Usage(7, 8, 1, 2)


def exact(sampled: list[Any], logprobs: list[Any], reason: str = "stop") -> dict[str, Any]:
    content = [{"token": "t", "logprob": value} for value in logprobs]
    data = chat({"content": "x"}, reason, token_ids=sampled, logprobs={"content": content})
    return {**data, "prompt_token_ids": [1, 2]}


def test_exact_tokens_of_vllm_and_of_nemo_rl() -> None:
    tokens = chat_reply(exact([3, 4], [-0.5, -1.0])).tokens
    assert tokens is not None
    assert (tokens.prompt, tokens.sampled, tokens.logprobs) == ([1, 2], [3, 4], [-0.5, -1.0])
    triplet = {"prompt_token_ids": [1], "generation_token_ids": ["token_id:2"], "generation_log_probs": [-0.1]}
    tokens = chat_reply(chat({"content": "x", **triplet})).tokens
    assert tokens is not None
    assert (tokens.prompt, tokens.sampled, tokens.logprobs) == ([1], [2], [-0.1])
    item = {"type": "message", "role": "assistant", "content": [], **triplet}
    reply = responses_reply({"output": [item]})
    assert reply.tokens is not None
    assert reply.items == [{"type": "message", "role": "assistant", "content": []}]


@pytest.mark.parametrize("bad", [float("nan"), None])
def test_a_logprob_that_is_no_number(bad: float | None) -> None:
    with pytest.raises(RolloutError) as caught:
        chat_reply(exact([3, 4], [-0.5, bad]))
    assert caught.value.kind == FailureKind.NAN_LOGPROB
    data = {"kept": 0, "suffix": [1], "sampled": [2], "logprobs": [bad], "version": 0}
    with pytest.raises(RolloutError) as caught:
        turn_reply({"items": [], "finish_reason": "stop", "usage": {}, "tokens": data}, [])
    assert caught.value.kind == FailureKind.NAN_LOGPROB


def test_ids_without_logprobs_or_a_broken_triplet_are_no_reply() -> None:
    for broken in (exact([3, 4], [-0.5]), chat({"content": "x", "prompt_token_ids": [1]})):
        with pytest.raises(CallFailure) as caught:
            chat_reply(broken)
        assert caught.value.kind == FailureKind.MODEL_INVALID_RESPONSE


def test_nothing_sampled_is_an_error_unless_there_was_no_room() -> None:
    with pytest.raises(RolloutError) as caught:
        chat_reply(exact([], []))
    assert caught.value.kind == FailureKind.EMPTY_GENERATION
    assert not caught.value.terminal
    reply = chat_reply(exact([], [], "length"))
    assert (reply.finish_reason, reply.items) == (FinishReason.CONTEXT_WINDOW, [])
    assert chat_reply(chat({"content": ""})).finish_reason is FinishReason.STOP


def test_responses_statuses() -> None:
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}
    call = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "1"}
    search = {"type": "web_search_call", "id": "w"}
    assert responses_reply({"status": "completed", "output": [search, message]}).items == [search, message]
    assert responses_reply({"output": [call]}).finish_reason is FinishReason.TOOL_CALLS
    for why, reason in (("max_output_tokens", FinishReason.LENGTH), ("content_filter", FinishReason.CONTENT_FILTER)):
        cut = {"status": "incomplete", "incomplete_details": {"reason": why}, "output": [message]}
        assert responses_reply(cut).finish_reason is reason
    assert len(responses_reply({"output": []}).items) == 1
    failed = {"status": "failed", "error": {"code": "context_length_exceeded", "message": "m"}}
    assert responses_reply(failed).finish_reason is FinishReason.CONTEXT_WINDOW
    with pytest.raises(CallFailure, match="server_error boom") as caught:
        responses_reply({"status": "failed", "error": {"code": "server_error", "message": "boom"}})
    assert caught.value.kind == FailureKind.PROVIDER_UNAVAILABLE


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "output", "type", "status", "usage", "tool_calls", "content", "error"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["choices", "output", "status", "usage", "error", "id"]), json_values))
def test_any_json_is_a_reply_or_an_invalid_response(data: dict[str, Any]) -> None:
    for read in (chat_reply, responses_reply):
        try:
            reply = read(data)
        except RolloutError:
            continue
        assert reply.items or reply.finish_reason is FinishReason.CONTEXT_WINDOW


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)), st.integers(0, 30))
def test_a_turns_prompt_is_made_whole(prefix: list[int], suffix: list[int], kept: int) -> None:
    tokens = {"kept": kept, "suffix": suffix, "sampled": [7], "logprobs": [-1.0], "version": [3]}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cached_tokens": 0, "reasoning_tokens": 0}
    data = {"items": [{"type": "message"}], "finish_reason": "stop", "usage": usage, "tokens": tokens}
    if kept > len(prefix):
        with pytest.raises(ValueError, match="kept"):
            turn_reply(data, prefix)
        return
    reply = turn_reply(data, prefix)
    assert reply.tokens is not None
    assert reply.tokens.prompt == prefix[:kept] + suffix
    assert reply.tokens.version == [3]
