"""From sampled ids to output items, by vLLM's own parsers.

The parsers only read: they say which part of the text is reasoning and which are tool calls. What they
cannot read stays text, and whatever they say, the ids on record are those that were sampled. Parsers are
named as in ``vllm serve`` (``--reasoning-parser``, ``--tool-call-parser``); plugin files may register more.
A parser that fails on a text leaves it as text. Calls are looked for only where tools were offered.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any
from uuid import uuid4

import orjson

from gym_ray.models.config import ServeConfig
from gym_ray.models.serve.certain import Certain, Guide, call_marks, learn_reasoning
from gym_ray.models.serve.engine import Generation
from gym_ray.models.serve.sampling import rejected
from gym_ray.models.serve.template import template_kwargs
from gym_ray.types.errors import UserError, describe
from gym_ray.types.items import Item, assistant_message, function_call, reasoning

log = logging.getLogger(__name__)
FREE_CHOICES = ("auto", "none")
_KEPT_READERS = 256


class OutputParser:
    """Makes items of generations. Not thread-safe."""

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int], config: ServeConfig) -> None:
        """
        Raises:
            UserError: a parser's name or plugin file is unknown.
        """
        self._tokenizer, self._stop_ids, self._config = tokenizer, frozenset(stop_ids), config
        self._reasoning_class, self._tool_class = _parser_classes(config)
        self._readers: OrderedDict[bytes, _Reader] = OrderedDict()
        self._special = tuple(tokenizer.get_added_vocab())
        self._reader({})

    def items(self, generation: Generation, body: dict[str, Any]) -> list[Item]:
        """Reasoning, message and function-call items, in this order; at least one item.

        ``body``: the request in Chat Completions form.
        """
        reader = self._reader(body)
        thought, content, calls = reader.read(self._text(generation, reader.one_call_end))
        items: list[Item] = []
        if thought:
            items.append(reasoning(thought, f"rs_{uuid4().hex}"))
        if content or not (thought or calls):
            items.append(assistant_message(content, f"msg_{uuid4().hex}"))
        items += [function_call(name, arguments, f"call_{uuid4().hex[:24]}") for name, arguments in calls]
        return items

    def certain(self, body: dict[str, Any], stops: Iterable[str]) -> Certain:
        """For streaming: what of a growing text :meth:`items` will find too. ``stops``: the stop strings."""
        return Certain(self._reader(body).guide, self._special, stops)

    def enforced(self, body: dict[str, Any], sampling: dict[str, Any]) -> dict[str, Any]:
        """``sampling``, and what makes the engine obey ``tool_choice`` and ``parallel_tool_calls=false``.

        A call that must come is a constraint. A call that must be the last one ends the generation with its
        end mark; families without such a mark keep all their calls.

        Raises:
            RolloutError: this parser's model family cannot be made to call a tool.
        """
        choice, reader = body.get("tool_choice", "auto"), self._reader(body)
        if choice not in FREE_CHOICES:
            tag = reader.forced_call()
            if tag is None:
                raise rejected(f"tool_choice={choice!r} needs a tool parser that can enforce it")
            sampling = {**sampling, "structured_outputs": {"structural_tag": tag}}
        if reader.one_call_end is None:
            return sampling
        ids = self._tokenizer.encode(reader.one_call_end, add_special_tokens=False)
        key, end = ("stop_token_ids", ids[0]) if len(ids) == 1 else ("stop", reader.one_call_end)
        given = sampling.get(key) or []
        return {**sampling, key: [*([given] if isinstance(given, str) else given), end]}

    def reasoning_tokens(self, ids: list[int]) -> int:
        """Sampled ids up to the end of reasoning; 0 when the reasoning parser names no single end token."""
        end = self._reader({}).reasoning_end_id
        return ids.index(end) if end in ids else 0

    def _text(self, generation: Generation, one_call_end: str | None) -> str:
        ids = generation.ids
        if generation.stopped and ids[-1] in self._stop_ids:
            ids = ids[:-1]
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        stop = generation.stop_text
        # The end mark of an only call belongs to what the model said.
        return text[: text.rfind(stop)] if stop and stop != one_call_end else text

    def _reader(self, body: dict[str, Any]) -> _Reader:
        """The parsers for these tools and template arguments; making them costs milliseconds."""
        tools, choice = body.get("tools"), body.get("tool_choice", "auto")
        kwargs = template_kwargs(body, self._config.chat_template_kwargs)
        single = body.get("parallel_tool_calls") is False
        key = orjson.dumps([tools, choice, single, kwargs])
        reader = self._readers.get(key)
        if reader is None:
            classes = self._reasoning_class, self._tool_class
            reader = _Reader(self._tokenizer, classes, tools, choice, kwargs, single=single)
            self._readers[key] = reader
            if len(self._readers) > _KEPT_READERS:
                self._readers.popitem(last=False)
        else:
            self._readers.move_to_end(key)
        return reader


class _Reader:
    """One pair of parsers, set up for one list of tools."""

    def __init__(
        self,
        tokenizer: Any,
        classes: tuple[type[Any] | None, type[Any] | None],
        tools: list[dict[str, Any]] | None,
        choice: Any,
        template_kwargs: dict[str, Any],
        *,
        single: bool,
    ) -> None:
        reasoning_class, tool_class = classes
        self._reasoning = reasoning_class and reasoning_class(tokenizer, chat_template_kwargs=template_kwargs)
        self._tools = None
        if reasoning_class or tool_class:
            self._request = _request(tools, choice, single=single)
        if tool_class and tools and choice != "none":
            self._tools = tool_class(tokenizer, self._request.tools)
            if self._reasoning is None and hasattr(self._tools, "skip_reasoning_parsing"):
                self._tools.skip_reasoning_parsing = True
        end = getattr(self._reasoning, "reasoning_end_str", None)
        self.reasoning_end_id = tokenizer.convert_tokens_to_ids(end) if end else None
        self.one_call_end = _call_end(self._tools) if single else None
        self._marks = call_marks(self._tools)

    @cached_property
    def guide(self) -> Guide:
        """What streaming has to know of these parsers."""
        return replace(learn_reasoning(self._reasoning, self._split), calls=self._marks)

    def read(self, text: str) -> tuple[str, str, list[tuple[str, str]]]:
        """Reasoning, content, and calls as (name, arguments); unreadable calls stay content."""
        thought, content = self._split(text)
        if not self._tools or not content:
            return thought, content, []
        try:
            found = self._tools.extract_tool_calls(content, self._request)
        except Exception:
            log.warning("the tool parser failed on a text, which stays text", exc_info=True)
            return thought, content, []
        if not found.tools_called:
            return thought, content, []
        calls = [(call.function.name, call.function.arguments) for call in found.tool_calls]
        return thought, self._rest(content, found.content or ""), calls

    def _split(self, text: str) -> tuple[str, str]:
        """Reasoning and the rest. White space alone is no reasoning."""
        if self._reasoning is None:
            return "", text
        try:
            thought, content = self._reasoning.extract_reasoning(text, self._request)
        except Exception:
            log.warning("the reasoning parser failed on a text, which stays text", exc_info=True)
            return "", text
        return (thought if thought and thought.strip() else ""), content or ""

    def _rest(self, content: str, left: str) -> str:
        """The text beside the calls. White space at its head, which some parsers strip, is the model's own."""
        if not left.strip():
            return ""
        head = content[: len(content) - len(content.lstrip())]
        return head + left.lstrip() if self._marks else left

    def forced_call(self) -> str | None:
        """vLLM's structural tag, as JSON text, that admits only what ``tool_choice`` asks for."""
        if self._tools is None:
            return None
        tag = self._tools.get_structural_tag(self._request)
        return None if tag is None else orjson.dumps(tag.model_dump()).decode()


def _call_end(tools: Any) -> str | None:
    """The mark that ends each call of this tool parser, if it names one."""
    if getattr(tools, "engine_based_streaming", False):
        mark: str | None = tools._parser_engine.parser_engine_config.terminal_literal("TOOL_END")
        return mark
    return getattr(tools, "tool_call_end_token", None)


def _request(tools: list[dict[str, Any]] | None, choice: Any, *, single: bool) -> Any:
    """The request that vLLM's parsers look at: tools and tool choice, nothing else."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    asked = {}
    if tools:
        # A call that is forced is one that fits its schema; vLLM pins the arguments of strict tools only.
        strict = {} if choice in FREE_CHOICES else {"strict": True}
        asked = {
            "tools": [{**tool, "function": {**tool["function"], **strict}} for tool in tools],
            "tool_choice": choice,
            "parallel_tool_calls": not single,
        }
    try:
        return ChatCompletionRequest.model_validate({"messages": [], "model": "", **asked})
    except ValueError as error:
        raise rejected(f"tools: {describe(error)}") from None


def _parser_classes(config: ServeConfig) -> tuple[type[Any] | None, type[Any] | None]:
    """The reasoning and tool parser classes that the settings name."""
    if not (config.reasoning_parser or config.tool_parser):
        return None, None
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager
    from vllm.utils.import_utils import import_from_path

    for position, plugin in enumerate(config.parser_plugins):
        try:
            import_from_path(f"gym_ray_parser_plugin_{position}", plugin)
        except Exception as error:
            raise UserError(f"model.serve.parser_plugins: {plugin}: {describe(error)}") from error
    find_reasoning, find_tool = ReasoningParserManager.get_reasoning_parser, ToolParserManager.get_tool_parser
    try:
        return (
            find_reasoning(config.reasoning_parser) if config.reasoning_parser else None,
            find_tool(config.tool_parser) if config.tool_parser else None,
        )
    except KeyError as error:
        raise UserError(f"model.serve: {error.args[0]}") from None
