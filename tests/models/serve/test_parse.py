"""vLLM's own parsers read what was sampled; what they cannot read stays text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gym_ray.models.config import ServeConfig
from gym_ray.models.serve.engine import Generation
from gym_ray.types.errors import RolloutError, UserError
from gym_ray.types.items import Item, item_text
from tests.models.serve.fakes import bytewise, tokenizer

pytestmark = pytest.mark.vllm
TAKE = {"type": "function", "function": {"name": "take", "parameters": {"type": "object", "properties": {}}}}
CALL = '<tool_call>{"name": "take", "arguments": {"item": "cup", "n": 2}}</tool_call>'
PLUGIN = """
from vllm.tool_parsers import ToolParser, ToolParserManager
from vllm.entrypoints.generate.base.protocol import ExtractedToolCallInformation, FunctionCall, ToolCall

@ToolParserManager.register_module("shout")
class Shout(ToolParser):
    def extract_tool_calls(self, model_output, request):
        name = request.tools[0].function.name
        call = ToolCall(type="function", function=FunctionCall(name=name, arguments=model_output))
        return ExtractedToolCallInformation(tools_called=True, tool_calls=[call], content=None)
"""


@pytest.fixture(scope="module")
def tokens() -> Any:
    return tokenizer()


def read(
    tokens: Any, text: str, body: dict[str, Any] | None = None, *, ended: bool = True, **settings: Any
) -> list[Item]:
    from gym_ray.models.serve.parse import OutputParser

    end = tokens.eos_token_id
    ids = bytewise(tokens, text) + [end] * ended
    parser = OutputParser(tokens, [end], ServeConfig(**settings))
    return parser.items(Generation(ids, [0.0] * len(ids), stopped=ended), body or {"tools": [TAKE]})


def shape(items: list[Item]) -> list[tuple[str, str]]:
    """Type and text of each item; a call's text is its arguments, parsed."""
    return [
        (item["type"], str(json.loads(item["arguments"])) if item["type"] == "function_call" else item_text(item))
        for item in items
    ]


def test_without_parsers_everything_is_the_message(tokens: Any) -> None:
    assert shape(read(tokens, f"<think>hm</think>{CALL}")) == [("message", f"<think>hm</think>{CALL}")]


def test_reasoning_text_and_calls_come_apart(tokens: Any) -> None:
    items = read(tokens, f"<think>hm</think>Taking.{CALL}{CALL}", tool_parser="hermes", reasoning_parser="qwen3")
    call = ("function_call", "{'item': 'cup', 'n': 2}")
    assert shape(items) == [("reasoning", "hm"), ("message", "Taking."), call, call]
    assert items[2]["name"] == "take"
    assert items[2]["call_id"] != items[3]["call_id"]


@pytest.mark.parametrize(
    "text", ['<tool_call>{"name": "take", "arguments": {"item"', "<tool_call>take it</tool_call>", "plain", ""]
)
def test_malformed_calls_stay_text(tokens: Any, text: str) -> None:
    assert shape(read(tokens, text, tool_parser="hermes")) == [("message", text)]


def test_reasoning_cut_short_is_all_there_is(tokens: Any) -> None:
    assert shape(read(tokens, "<think>and so", ended=False, reasoning_parser="qwen3")) == [("reasoning", "and so")]


def test_a_template_that_turns_thinking_off_turns_its_parser_off(tokens: Any) -> None:
    body = {"chat_template_kwargs": {"enable_thinking": False}}
    assert shape(read(tokens, "just this", body, reasoning_parser="qwen3")) == [("message", "just this")]


def test_tool_choice_none_leaves_calls_unread(tokens: Any) -> None:
    body = {"tools": [TAKE], "tool_choice": "none"}
    assert shape(read(tokens, CALL, body, tool_parser="hermes")) == [("message", CALL)]


def test_a_required_call_constrains_the_engine_or_is_refused(tokens: Any) -> None:
    from gym_ray.models.serve.parse import OutputParser

    body = {"tools": [TAKE], "tool_choice": "required"}
    sampling = OutputParser(tokens, [2], ServeConfig(tool_parser="hermes")).enforced(body, {"seed": 1})
    assert "take" in sampling["structured_outputs"]["structural_tag"]
    assert sampling["seed"] == 1
    with pytest.raises(RolloutError, match="required"):
        OutputParser(tokens, [2], ServeConfig()).enforced(body, {})


def test_an_only_call_ends_the_generation_with_its_mark(tokens: Any) -> None:
    from gym_ray.models.serve.parse import OutputParser

    body = {"tools": [TAKE], "parallel_tool_calls": False}
    parser = OutputParser(tokens, [2], ServeConfig(tool_parser="hermes"))
    mark = tokens.convert_tokens_to_ids("</tool_call>")
    assert parser.enforced(body, {"stop_token_ids": [5]}) == {"stop_token_ids": [5, mark]}
    ids = [*bytewise(tokens, CALL.removesuffix("</tool_call>")), mark]
    assert shape(parser.items(Generation(ids, [], stopped=True), body)) == [
        ("function_call", "{'item': 'cup', 'n': 2}")
    ]
    assert parser.enforced({"parallel_tool_calls": False}, {}) == {}


def test_a_parser_that_fails_leaves_text(tokens: Any, tmp_path: Path) -> None:
    plugin = tmp_path / "falls.py"
    plugin.write_text(PLUGIN.replace("shout", "falls").replace("name = request", "raise KeyError(0)  #"))
    assert shape(read(tokens, "so", tool_parser="falls", parser_plugins=[str(plugin)])) == [("message", "so")]


def test_plugin_files_register_parsers(tokens: Any, tmp_path: Path) -> None:
    plugin = tmp_path / "shout.py"
    plugin.write_text(PLUGIN)
    items = read(tokens, '{"a": 1}', tool_parser="shout", parser_plugins=[str(plugin)])
    assert shape(items) == [("function_call", "{'a': 1}")]


@pytest.mark.parametrize("wrong", [{"tool_parser": "hermess"}, {"reasoning_parser": "qwen33"}])
def test_an_unknown_parser_is_named(tokens: Any, wrong: dict[str, str]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong.values()))):
        read(tokens, "x", **wrong)
