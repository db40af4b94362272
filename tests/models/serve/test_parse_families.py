"""vLLM's own parsers, each on texts in the format of its model family: well-formed, cut anywhere, malformed."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from gym_ray.models.config import ServeConfig
from gym_ray.models.serve.engine import Generation
from gym_ray.types.items import Item, item_text
from tests.models.serve.fakes import tokenizer

pytestmark = pytest.mark.vllm

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"item": {"type": "string"}, "n": {"type": "integer"}, "all": {"type": "boolean"}},
            },
        },
    }
    for name in ("take", "put")
]
BODY = {"tools": TOOLS}
THOUGHT = 'Two <b>cups</b>, "red" ones: {n: 2}.'
SAID = "Here they are – déjà vu 🙂:"  # noqa: RUF001
FAMILIES: dict[str, tuple[str | None, str | None, str, str]] = {
    "qwen3": (
        "hermes",
        "qwen3",
        "<think>\n{thought}\n</think>\n\n{said}\n",
        '<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>\n',
    ),
    "qwen3 json": (
        "qwen3_json",
        "qwen3",
        "{thought}\n</think>\n\n{said}\n",
        '<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>\n',
    ),
    "qwen3 coder": ("qwen3_coder", None, "{said}\n", "XML"),
    "qwen3.5": ("qwen3_xml", "qwen3", "{thought}\n</think>\n\n{said}\n", "XML"),
    "nemotron 3 nano": ("qwen3_coder", "deepseek_r1", "{thought}\n</think>\n{said}\n", "XML"),
    "nemotron 3 super": ("qwen3_coder", "nemotron_v3", "<think>{thought}</think>{said}\n", "XML"),
    "deepseek v3": (
        "deepseek_v3",
        "deepseek_r1",
        "<think>{thought}</think>{said}",
        "DEEPSEEK",
    ),
    "llama 3": ("llama3_json", None, "", '{{"name": "{name}", "parameters": {arguments}}}; '),
    "llama 4": ("llama4_pythonic", None, "", "PYTHON"),
    "glm 4.5": ("glm45", "glm45", "<think>{thought}</think>\n{said}\n", "GLM"),
}
SPECIAL = [
    *("<|python_tag|>", "<|python_start|>", "<|python_end|>", "<arg_key>"),
    *("</arg_key>", "<arg_value>", "</arg_value>", "<|observation|>", "<|user|>"),
    *(f"<｜tool▁{name}｜>" for name in ("calls▁begin", "calls▁end", "call▁begin", "call▁end", "sep")),  # noqa: RUF001
]
CALLS: list[tuple[str, dict[str, Any]]] = [("take", {"item": 'a "b"\n<c>', "n": 2}), ("put", {"all": True})]


def xml(name: str, arguments: dict[str, Any]) -> str:
    lines = (f"<parameter={key}>\n{plain(value)}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{''.join(lines)}</function>\n</tool_call>\n"


def glm(name: str, arguments: dict[str, Any]) -> str:
    pairs = (f"<arg_key>{key}</arg_key>\n<arg_value>{plain(value)}</arg_value>\n" for key, value in arguments.items())
    return f"<tool_call>{name}\n{''.join(pairs)}</tool_call>\n"


def plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def calls_of(family: str, template: str) -> str:
    if template == "XML":
        return "".join(xml(*call) for call in CALLS)
    if template == "GLM":
        return "".join(glm(*call) for call in CALLS)
    if template == "PYTHON":
        said = (f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})" for name, given in CALLS)
        return f"[{', '.join(said)}]"
    if template == "DEEPSEEK":
        mark = "<｜tool▁{}｜>".format  # noqa: RUF001
        said = (
            f"{mark('call▁begin')}function{mark('sep')}{name}\n```json\n{json.dumps(given)}\n```{mark('call▁end')}"
            for name, given in CALLS
        )
        return f"{mark('calls▁begin')}{''.join(said)}{mark('calls▁end')}"
    return "".join(template.format(name=name, arguments=json.dumps(given)) for name, given in CALLS)


@pytest.fixture(scope="module")
def tokens() -> Any:
    extended = copy.deepcopy(tokenizer())
    extended.add_special_tokens({"additional_special_tokens": SPECIAL}, replace_extra_special_tokens=False)
    return extended


@pytest.fixture(scope="module")
def parsers(tokens: Any) -> dict[str, Any]:
    from gym_ray.models.serve.parse import OutputParser

    end = tokens.eos_token_id
    return {
        name: OutputParser(tokens, [end], ServeConfig(tool_parser=tool, reasoning_parser=thought))
        for name, (tool, thought, _, _) in FAMILIES.items()
    }


def sample(family: str) -> str:
    _, _, head, calls = FAMILIES[family]
    return head.format(thought=THOUGHT, said=SAID) + calls_of(family, calls)


def read(parser: Any, tokens: Any, text: str) -> list[Item]:
    ids = tokens.encode(text, add_special_tokens=False)
    assert tokens.decode(ids, skip_special_tokens=False) == text
    return parser.items(Generation(ids, [], stopped=False), BODY)  # type: ignore[no-any-return]


def streamed(parser: Any, text: str) -> dict[str, str]:
    certain, said = parser.certain(BODY, ()), {"thought": "", "text": ""}
    for character in text:
        for kind, part in certain.feed(character):
            said[kind] += part
    return said


def check_stream(items: list[Item], said: dict[str, str]) -> None:
    whole = {
        kind: "".join(item_text(item) for item in items if item["type"] == name)
        for kind, name in (("thought", "reasoning"), ("text", "message"))
    }
    assert whole["text"].startswith(said["text"])
    assert whole["thought"].startswith(said["thought"])
    if said["text"]:
        assert whole["thought"] == said["thought"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_read_whole(family: str, tokens: Any, parsers: dict[str, Any]) -> None:
    _, thought, head, _ = FAMILIES[family]
    items = read(parsers[family], tokens, sample(family))
    called = [(item["name"], json.loads(item["arguments"])) for item in items if item["type"] == "function_call"]
    assert called == CALLS
    texts = [item_text(item).strip() for item in items if item["type"] != "function_call"]
    assert texts == [THOUGHT] * (thought is not None) + [SAID] * ("{said}" in head)
    said = streamed(parsers[family], sample(family))
    check_stream(items, said)
    assert said["thought"].strip() == (THOUGHT if thought else "")
    if "{said}" in head:
        assert said["text"].strip() == SAID


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_cut_anywhere_is_read_and_streamed_alike(family: str, tokens: Any, parsers: dict[str, Any]) -> None:
    text = sample(family)
    for end in range(1, len(text), 3):
        items = read(parsers[family], tokens, text[:end])
        assert items
        check_stream(items, streamed(parsers[family], text[:end]))


MALFORMED = [
    '<tool_call>\n{"name": "take", "arguments": {"item": }}\n</tool_call>',
    '<tool_call>\n{"nome": "take"}\n</tool_call>',
    "<tool_call>\n[1, 2]\n</tool_call>",
    "<tool_call></tool_call>",
    "</tool_call>",
    "<tool_call>\n<function=>\n</function>\n</tool_call>",
    "<function=take",
    '{"name": "take"',
    '{"name": 5, "parameters": {}}',
    '{"a": 1}',
    "[take(item=)]",
    "<｜tool▁calls▁begin｜>what<｜tool▁calls▁end｜>",  # noqa: RUF001
    "</think></think>",
    "<think><think>",
    "just text",
    "\n",
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", MALFORMED)
def test_what_cannot_be_read_is_kept_or_called_but_never_lost(
    family: str, text: str, tokens: Any, parsers: dict[str, Any]
) -> None:
    items = read(parsers[family], tokens, text)
    check_stream(items, streamed(parsers[family], text))
    kept = json.dumps(items, ensure_ascii=False)
    assert [word for word in ("take", "nome", "what", "item", "just text") if word in text and word not in kept] == []
