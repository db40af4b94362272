"""A chat template: conversation items to text, and what can be read from the template itself.

Templates are programs, and nothing stops one from looking anywhere. But what it can tell apart in a text, it
must name: strings it compares with or cuts at, and numbers it counts to. :attr:`Template.names` and
:attr:`Template.count` are those, read from its syntax tree; probes are built from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gym_ray.models.serve.messages import template_messages
from gym_ray.models.serve.sampling import rejected
from gym_ray.types.errors import RolloutError, describe
from gym_ray.types.items import Item

_MARK = "gym ray"
_GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
"""A tag of transformers' own, without meaning for what is rendered."""
_OF_MESSAGES = frozenset({"role", "type", "name"})
"""Fields that are compared with names which say nothing about contents."""
_NOT_TESTS = frozenset({"raise_exception", "strftime_now", "namespace", "range", "dict"})


class Template:
    """One tokenizer's template.

    ``begin_text``: what stands in front of the model's words. ``end_text``, ``end_id``: the mark that ends its
    turn, ``("", -1)`` if there is none.
    """

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int], given: str | None) -> None:
        """``given``: a file's path, a template's text, or None for the tokenizer's own."""
        self._tokenizer, self._given = tokenizer, _load(given)
        self.names, self.count = self._read()
        self.begin_text, tail = self._around_a_turn()
        ids = self.encode(tail)
        marked = bool(ids) and ids[0] in stop_ids
        self.end_id: int = ids[0] if marked else -1
        self.end_text: str = tokenizer.decode(ids[:1], skip_special_tokens=False) if marked else ""

    def render(self, items: list[Item], tools: Any, kwargs: dict[str, Any], *, generate: bool) -> str:
        """The conversation as text; ``generate``: with what asks for the model's next turn.

        Raises:
            RolloutError: the template refuses this conversation.
        """
        try:
            rendered: str = self._tokenizer.apply_chat_template(
                template_messages(items),
                tools=tools,
                chat_template=self._given,
                add_generation_prompt=generate,
                tokenize=False,
                **kwargs,
            )
        except RolloutError:
            raise
        except Exception as error:
            raise rejected(f"the chat template refused the conversation: {describe(error)}") from error
        return rendered

    def encode(self, text: str) -> list[int]:
        """Ids of rendered text; the template has put in all special tokens itself."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _around_a_turn(self) -> tuple[str, str]:
        asked: Item = {"role": "user", "content": "?"}
        try:
            before = self.render([asked], None, {}, generate=False)
            # A turn in the middle: some templates begin the last one otherwise.
            text = self.render([asked, {"role": "assistant", "content": _MARK}, asked], None, {}, generate=False)
        except RolloutError:
            return "", ""
        head, _, tail = text.rpartition(_MARK)
        return head.removeprefix(before), tail

    def _read(self) -> tuple[tuple[str, ...], int | None]:
        """Strings that the template looks for, in its order, and the largest number in it; None: it is no Jinja."""
        from jinja2 import Environment, TemplateSyntaxError, nodes

        source = self._given or getattr(self._tokenizer, "chat_template", None)
        source = "".join(source.values()) if isinstance(source, dict) else source
        if not isinstance(source, str):
            return (), None
        try:
            tree = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(_GENERATION.sub("", source))
        except TemplateSyntaxError:
            return (), None
        names = dict.fromkeys(text for text in _looked_for(tree) if text)
        numbers = [node.value for node in tree.find_all(nodes.Const) if type(node.value) is int]
        return tuple(names), max(numbers, default=0)


def template_kwargs(body: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Template arguments: the deployment's defaults, over them the request's own."""
    kwargs = {**defaults, **(body.get("chat_template_kwargs") or {})}
    if body.get("reasoning_effort"):
        kwargs["reasoning_effort"] = body["reasoning_effort"]
    return kwargs


def _looked_for(tree: Any) -> Iterator[str]:
    """Every string that stands where a text is tested or cut: comparisons, arguments, assignments to names."""
    from jinja2 import nodes

    for node in tree.find_all((nodes.Compare, nodes.Call, nodes.Filter, nodes.Test, nodes.Assign)):
        if isinstance(node, nodes.Compare):
            sides: list[Any] = [node.expr, *(operand.expr for operand in node.ops)]
            if any(_field(side) in _OF_MESSAGES for side in sides):
                continue
        elif isinstance(node, nodes.Assign):
            sides = [node.node]
        elif isinstance(node, nodes.Call) and getattr(node.node, "name", None) in _NOT_TESTS:
            continue
        else:
            sides = list(node.args)
        for side in sides:
            consts = [side] if isinstance(side, nodes.Const) else side.find_all(nodes.Const)
            yield from (const.value for const in consts if isinstance(const.value, str))


def _field(node: Any) -> Any:
    """``role`` for ``message.role`` and ``message['role']``."""
    return getattr(node, "attr", None) or getattr(getattr(node, "arg", None), "value", None)


def _load(given: str | None) -> str | None:
    if given is None or "{" in given:
        return given
    return Path(given).read_text(encoding="utf-8")
