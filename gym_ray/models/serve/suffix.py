"""What a template appends after the model's turn: by rendering all of it, or a short stand-in for the history.

Invariants. A suffix begins with the end mark of the model's last turn. It is None when the template does not
only append: it renders what came before that turn otherwise than before, or leaves out what the turn said.
The stand-in is used only where it has been shown to give what the whole conversation gives (:class:`Locality`).

Reasoning kept. Where a template strips reasoning once something new comes, ``keep_reasoning`` asks it about
the same conversation without reasoning: it then appends as to any other, and the ids of what was said stay.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

from gym_ray.models.serve.messages import is_output
from gym_ray.models.serve.outline import WORD, Outline, kinds, stand_in
from gym_ray.models.serve.template import Template
from gym_ray.types.errors import RolloutError
from gym_ray.types.items import Item, assistant_message, item_text

MAX_COUNT = 16
"""A template that names a larger number might count further than probes go."""
MAX_PROBED = 512
"""Kinds of continuation that are probed in one process; more of them render whole."""
Say = Callable[[int], str]
_TOOL = {"type": "function", "function": {"name": "gym_ray", "description": WORD, "parameters": {"type": "object"}}}


@dataclass(frozen=True, slots=True)
class Scene:
    """What else a template is told. ``key``: both fields as JSON."""

    tools: Any
    kwargs: dict[str, Any]
    key: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a conversation: the model's last turn, and what came after it."""

    turn: list[Item]
    new: list[Item]


class Suffixes:
    """Finds suffixes with one template."""

    def __init__(self, template: Template, keep_reasoning: bool) -> None:
        self._template, self._keep = template, keep_reasoning
        self._stand_ins: OrderedDict[Any, _History] = OrderedDict()

    def find(
        self, history: list[Item], step: Step, scene: Scene, text: str | None = None, marks: int | None = None
    ) -> str | None:
        """The suffix.

        ``text``: the conversation with all of ``step``, if it has been rendered already. ``marks``: how many end
        marks must stand in the conversation up to the suffix's own, that one counted; None: any number.
        """
        return self._find(_History(history), step, scene, text, marks)

    def near(self, outline: Outline, step: Step, scene: Scene) -> str | None:
        """The suffix by a stand-in for the history."""
        key = outline, scene.key
        history = self._stand_ins.get(key)
        if history is None:
            history = self._stand_ins[key] = _History(stand_in(outline))
            if len(self._stand_ins) > MAX_PROBED:
                self._stand_ins.popitem(last=False)
        return self._find(history, step, _stub(scene))

    def probe(self, outline: Outline, step: Step, scene: Scene, say: Say) -> str | None:
        """The suffix by a stand-in whose n-th text is ``say(n)``."""
        return self._find(_History(stand_in(outline, say)), step, _stub(scene))

    def _find(
        self, history: _History, step: Step, scene: Scene, text: str | None = None, marks: int | None = None
    ) -> str | None:
        found = self._plain(history, step, scene, text, marks)
        if found is None and self._keep:
            found = self._plain(history.faded, Step(_faded(step.turn), step.new), scene, None, marks)
        return found

    def _plain(self, history: _History, step: Step, scene: Scene, text: str | None, marks: int | None) -> str | None:
        end = self._template.end_text
        said = [item_text(item).strip() for item in step.turn]
        if any(end in part for part in [*said, *_call_texts(step.turn)]):
            return None  # The model spelled a mark; which one is the turn's end cannot be told.
        try:
            before = history.text(self._template, scene)
            if text is None:
                items = [*history.items, *step.turn, *step.new]
                text = self._template.render(items, scene.tools, scene.kwargs, generate=True)
        except RolloutError:
            return None
        at = text.find(end, len(before))
        if at < 0 or not text.startswith(before) or marks not in (None, text.count(end, 0, at) + 1):
            return None
        return text[at:] if _shows(text[len(before) : at], said, self._template.begin_text) else None


class _History:
    """What stood before a step. Its text, for one scene, is rendered once."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self._text: str | None = None

    def text(self, template: Template, scene: Scene) -> str:
        if self._text is None:
            self._text = template.render(self.items, scene.tools, scene.kwargs, generate=False) if self.items else ""
        return self._text

    @cached_property
    def faded(self) -> _History:
        return _History(_faded(self.items))


def _shows(turn: str, said: list[str], begin: str) -> bool:
    """True when all that was said stands in the rendered turn, one after the other, behind its beginning."""
    at = len(begin) if turn.startswith(begin) else 0
    for part in said:
        found = turn.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _stub(scene: Scene) -> Scene:
    return Scene([_TOOL] if scene.tools else scene.tools, scene.kwargs, b"")


class Locality:
    """Knows for which kinds of continuation the suffix does not depend on the history beyond its outline.

    A kind is judged when it is first met. The stand-in must give what the whole conversation gave. Then the
    stand-in is varied, and must still give the same: each text, and all of them, replaced by every string that
    the template looks for; rounds repeated further than the template can count. The kind names which of those
    strings occur in the step's own texts, so that another step of the same kind cannot be treated otherwise.
    """

    def __init__(self, template: Template, suffixes: Suffixes) -> None:
        self._template, self._suffixes = template, suffixes
        self._known: OrderedDict[Any, bool] = OrderedDict()

    def kind(self, outline: Outline, step: Step, scene: Scene) -> Any:
        """What a judgement holds for."""
        texts = (*map(item_text, step.turn), *_call_texts(step.turn), *map(_new_text, step.new))
        seen = tuple(_signs(text, self._template.names) for text in texts)
        return outline, kinds(step.turn), kinds(step.new), seen, scene.key

    def knows(self, kind: Any) -> bool | None:
        """The judgement; None: not met yet."""
        if self._template.count is None or self._template.count > MAX_COUNT:
            return False
        return self._known.get(kind, None if len(self._known) < MAX_PROBED else False)

    def judge(self, kind: Any, outline: Outline, step: Step, scene: Scene, suffix: str | None) -> None:
        """Learn, given the suffix that the whole conversation gave."""
        self._known[kind] = self._suffixes.near(outline, step, scene) == suffix and all(
            self._suffixes.probe(longer, step, scene, say) == suffix for longer, say in self._probes(outline)
        )

    def _probes(self, outline: Outline) -> Iterator[tuple[Outline, Say]]:
        names = self._template.names
        around = [f"{name}{WORD}{name}" for name in names]
        beside = [f"{first}{WORD}{second}" for first, second in pairwise(names)]
        for text in (f" \n{WORD}\n ", *names, *around, *beside):
            yield outline, _says(text)
        for position in range(len(stand_in(outline))):
            for text in (*around, *beside):
                yield outline, _says(text, position)
        if len(outline) > 1:
            furthest = (self._template.count or 0) + 3
            for times in sorted({2, 3, furthest - 1, furthest}):
                yield (outline[0], *outline[1:] * times), _says(WORD)


def _says(text: str, position: int | None = None) -> Say:
    """``text`` at ``position``, or everywhere."""
    return lambda at: text if position in (None, at) else WORD


def _signs(text: str, names: tuple[str, ...]) -> tuple[tuple[int, bool, bool, bool], ...]:
    """Which of ``names`` are in ``text``, and whether at its beginning, at its end, or all of it."""
    return tuple(
        (position, text.startswith(name), text.endswith(name), text == name)
        for position, name in enumerate(names)
        if name in text
    )


def _call_texts(items: list[Item]) -> list[str]:
    calls = [item for item in items if item.get("type") == "function_call"]
    return [str(call.get(field)) for call in calls for field in ("name", "arguments")]


def _new_text(item: Item) -> str:
    output = item.get("output")
    return output if isinstance(output, str) else item_text(item)


def _faded(items: list[Item]) -> list[Item]:
    """``items`` without reasoning, and a word for the model's texts and arguments: nothing that could be stripped."""
    faded: list[Item] = []
    for speaking, run in groupby(items, is_output):
        its = list(run)
        faded += (
            [_word(item) for item in its if item.get("type") != "reasoning"] or [_word(its[0])] if speaking else its
        )
    return faded


def _word(item: Item) -> Item:
    return {**item, "arguments": "{}"} if item.get("type") == "function_call" else assistant_message(WORD)
