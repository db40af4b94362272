"""What streams is what is read at the end, whatever the model says and however it is cut into tokens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gym_ray.models.config import ModelConfig, ServeConfig
from gym_ray.models.serve.certain import Certain, Detokenizer, Guide
from gym_ray.models.serve.engine import Piece
from gym_ray.models.serve.policy import Policy
from gym_ray.types.items import item_text, user_message
from tests.models.serve.fakes import FakeEngine, bytewise, tokenizer

TAKE = {
    "type": "function",
    "function": {"name": "take", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}},
}
JSON_CALL = '<tool_call>\n{"name": "take", "arguments": {"n": 2}}\n</tool_call>'
XML_CALL = "<tool_call>\n<function=take>\n<parameter=n>\n2\n</parameter>\n</function>\n</tool_call>"
PARTS = [
    *(
        "<think>",
        "</think>",
        "\n",
        "\n\n",
        " ",
        "Let me see.",
        "déjà vu 🙂",
        "a < b",
        "<tool",
        "{",
        "[x]",
        "<|im_start|>",
    ),
    *("<tool_call>", "</tool_call>", "<tool_call>{", JSON_CALL, XML_CALL, "<function=take>", "</thin", "END"),
]
FAMILIES = [
    (None, None),
    ("hermes", None),
    (None, "qwen3"),
    ("hermes", "qwen3"),
    ("qwen3_coder", "qwen3"),
    ("qwen3_coder", "nemotron_v3"),
    ("llama3_json", "qwen3"),
]


async def pieces(policy: Policy, **params: Any) -> list[Piece]:
    turn = {"params": params, "items": [user_message("go")], "session": "s"}
    return [piece async for piece in policy.stream(turn)]


def joined(said: list[Piece], kind: str) -> str:
    return "".join(text for piece in said for what, text in piece.said if what == kind)


async def streamed(text: str, part: int, tool: str | None, thought: str | None, **params: Any) -> list[Piece]:
    engine = FakeEngine([text])
    engine.part = part
    policy = Policy(engine, ModelConfig(serve=ServeConfig(tool_parser=tool, reasoning_parser=thought)))
    await policy.start()
    return await pieces(policy, **params)


def final(items: list[Any], kind: str) -> str:
    return "".join(item_text(item) for item in items if item["type"] == kind)


@pytest.mark.vllm
@pytest.mark.parametrize(("tool", "thought"), FAMILIES[:-1])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.sampled_from(PARTS), max_size=9), part=st.integers(1, 7))
def test_what_streams_is_a_beginning_of_what_is_read(
    tool: str | None, thought: str | None, parts: list[str], part: int
) -> None:
    said = asyncio.run(streamed("".join(parts), part, tool, thought, tools=[TAKE], stop=["END"]))
    reply = said[-1].reply
    assert reply is not None
    assert final(reply["items"], "message").startswith(joined(said, "text"))
    if joined(said, "text"):
        # Nothing may come after it, for then a thought would have to.
        assert final(reply["items"], "reasoning") == joined(said, "thought")
    assert final(reply["items"], "reasoning").startswith(joined(said, "thought"))
    assert [token for piece in said for token in piece.ids] == reply["tokens"]["sampled"]
    assert [one for piece in said for one in piece.logprobs] == reply["tokens"]["logprobs"]


@pytest.mark.vllm
@pytest.mark.parametrize(("tool", "thought"), FAMILIES[1:-1])
async def test_reasoning_and_text_do_stream(tool: str | None, thought: str | None) -> None:
    call = XML_CALL if tool == "qwen3_coder" else JSON_CALL
    text = f"<think>\nFirst this, then that.\n</think>\n\nI take two.\n{call}"
    said = await streamed(text, 1, tool, thought, tools=[TAKE])
    items = said[-1].reply["items"] if said[-1].reply else []
    head = joined(said, "text").rstrip()
    if thought:
        assert final(items, "reasoning") == joined(said, "thought")
        assert joined(said, "thought").strip() == "First this, then that."
        assert head == "\n\nI take two."
        assert len([piece for piece in said if piece.said]) > 20
    assert [item["type"] for item in items][-1] == ("function_call" if tool else "message")


def feed(certain: Certain, text: str) -> list[Any]:
    return [said for character in text for said in certain.feed(character)]


def test_nothing_streams_where_a_parser_gives_no_guarantee() -> None:
    assert feed(Certain(Guide(None), (), ()), "anything") == []
    thinks = Guide("thought", "<think>", "</think>", calls=None)
    assert feed(Certain(thinks, (), ()), "<think>a b</think>c d") == [
        ("thought", "a"),
        ("thought", " b"),
    ]


def test_what_may_be_the_beginning_of_a_stop_string_waits() -> None:
    certain = Certain(Guide("text"), ("<|end|>",), ("STOP",))
    assert "".join(text for _, text in feed(certain, "go ST and STO")) == "go ST and"
    assert feed(certain, "P ignored") == []


def test_characters_of_several_tokens_come_whole() -> None:
    tokens = tokenizer()
    text = "naïve 🙂 ok"
    whole, detokenizer = "", Detokenizer(tokens)
    for token in bytewise(tokens, text):
        part = detokenizer.feed([token])
        assert "�" not in part
        whole += part
    assert whole == text
