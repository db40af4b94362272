"""From conversation items to prompt ids: the chat template, and only its new part where possible.

Invariants. A sampled id is never tokenized again: while the template leaves history alone, turn k+1's prompt
is the earlier prompt and sampled ids as they were, plus the ids of what the template appends after them.
Where the template rewrites history (it strips earlier reasoning, say) the whole conversation is rendered
afresh and ``kept`` is 0: a new segment. In doubt it is a new segment; an extension is never guessed.

What is appended is found in one of two ways. The whole conversation is rendered; then the end marks in text
and ids must agree in number. Or, where the template has been shown to look no further back
(:class:`~gym_ray.models.serve.suffix.Locality`) and this process itself rendered the session's previous
prompt, a short stand-in takes the history's place: the cost of a turn is then that of its new items.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gym_ray.models.serve.messages import last_turn_start
from gym_ray.models.serve.outline import Outline, extended, kinds, outline_of
from gym_ray.models.serve.suffix import Locality, Scene, Step, Suffixes
from gym_ray.models.serve.template import Template, template_kwargs
from gym_ray.types.items import Item

MAX_SESSIONS = 16_384
"""Sessions remembered. A forgotten one costs a whole render, nothing else."""
_TAIL = 8


@dataclass(frozen=True, slots=True)
class _Rendered:
    """A session's latest prompt: how many items and ids, its last ids, and the items' outline."""

    items: int
    ids: int
    tail: list[int]
    outline: Outline | None


class Renderer:
    """Renders with one tokenizer and template. Not thread-safe; cheap enough for the event loop."""

    def __init__(
        self,
        tokenizer: Any,
        stop_ids: Sequence[int],
        template: str | None,
        kwargs: dict[str, Any],
        *,
        keep_reasoning: bool = False,
    ) -> None:
        """``template``: a file's path, a template's text, or None for the tokenizer's own."""
        self._kwargs = kwargs
        self._template = Template(tokenizer, stop_ids, template)
        self._suffixes = Suffixes(self._template, keep_reasoning)
        self._locality = Locality(self._template, self._suffixes)
        self._sessions: OrderedDict[str, _Rendered] = OrderedDict()

    def prompt(
        self,
        items: list[Item],
        body: dict[str, Any],
        prefix: list[int] | None,
        covered: int,
        session: str | None = None,
    ) -> tuple[list[int], int]:
        """Prompt ids of the next turn, and how many of them are ``prefix``, kept as they were.

        ``prefix``: ids of the previous call, prompt and sampled. ``covered``: how many ``items`` they stand
        for; the caller vouches that these items are as they were. ``body``: the request in Chat Completions
        form; tools and template arguments are read from it. ``session``: whose conversation this is.

        Raises:
            RolloutError: the template refuses this conversation.
        """
        tools, kwargs = body.get("tools"), template_kwargs(body, self._kwargs)
        scene = Scene(tools, kwargs, orjson.dumps([tools, kwargs]))
        start = last_turn_start(items, covered) if prefix and self._template.end_text else covered
        if not prefix or start == covered:
            prompt, kept, outline = self._encode_all(items, scene), 0, outline_of(items)
        else:
            prompt, kept, outline = self._continue(items, start, covered, prefix, scene, session)
        if session is not None:
            self._remember(session, _Rendered(len(items), len(prompt), prompt[-_TAIL:], outline))
        return prompt, kept

    def _continue(
        self, items: list[Item], start: int, covered: int, prefix: list[int], scene: Scene, session: str | None
    ) -> tuple[list[int], int, Outline | None]:
        """Prompt, kept ids and outline where the model has spoken before, in ``items[start:covered]``."""
        step = Step(items[start:covered], items[covered:])
        history = self._history(session, start, prefix)
        kind = history and self._locality.kind(history, step, scene)
        local = self._locality.knows(kind) if kind else False
        text = None
        if history and local:
            suffix = self._suffixes.near(history, step, scene)
        else:
            text = self._template.render(items, scene.tools, scene.kwargs, generate=True)
            marks = prefix.count(self._template.end_id) + (prefix[-1] != self._template.end_id)
            suffix = self._suffixes.find(items[:start], step, scene, text, marks)
            if history and local is None:
                self._locality.judge(kind, history, step, scene, suffix)
        outline = extended(history, kinds(step.turn + step.new)) if history else outline_of(items)
        fresh = self._ids_after(prefix, suffix)
        if fresh is not None:
            return prefix + fresh, len(prefix), outline
        return self._encode_all(items, scene) if text is None else self._template.encode(text), 0, outline

    def _ids_after(self, prefix: list[int], suffix: str | None) -> list[int] | None:
        """Encoded with the end mark in front, as it stands in the whole text. A turn cut short gets its mark now."""
        ids = self._template.encode(suffix) if suffix else []
        if not ids or ids[0] != self._template.end_id:
            return None
        return ids[1:] if prefix[-1] == self._template.end_id else ids

    def _encode_all(self, items: list[Item], scene: Scene) -> list[int]:
        return self._template.encode(self._template.render(items, scene.tools, scene.kwargs, generate=True))

    def _history(self, session: str | None, start: int, prefix: list[int]) -> Outline | None:
        """The outline of what this process rendered last for ``session``, if ``prefix`` goes on from exactly there."""
        last = self._sessions.get(session) if session is not None else None
        if last is None or last.items != start or len(prefix) <= last.ids:
            return None
        return last.outline if prefix[last.ids - len(last.tail) : last.ids] == last.tail else None

    def _remember(self, session: str, rendered: _Rendered) -> None:
        self._sessions[session] = rendered
        self._sessions.move_to_end(session)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
