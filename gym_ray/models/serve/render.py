"""From conversation items to prompt ids: the chat template, and only its new part where possible.

Invariants. A sampled id is never tokenized again: while the template leaves history alone, turn k+1's prompt
is the earlier prompt and sampled ids as they were, plus the ids of what the template appends after them.
Where the template rewrites history (it strips earlier reasoning, say) the whole conversation is rendered
afresh and ``kept`` is 0: a new segment. In doubt it is a new segment; an extension is never guessed.

How the new part is found. With P = the text of the conversation before the model's last turn, and T = the
text of all of it: T must begin with P; the last turn's end mark is the first one after P; what follows the
mark is new. Two checks guard this: the marks before that point must be as many in the text as in the ids,
and the turn's reasoning must still be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gym_ray.models.serve.messages import last_turn_start, template_messages
from gym_ray.models.serve.sampling import rejected
from gym_ray.types.errors import RolloutError, describe
from gym_ray.types.items import Item, item_text

_MARK = "gym ray"


class Renderer:
    """Renders with one tokenizer and template. Not thread-safe; cheap enough for the event loop."""

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int], template: str | None, kwargs: dict[str, Any]) -> None:
        """``template``: a file's path, a template's text, or None for the tokenizer's own."""
        self._tokenizer, self._kwargs, self._template = tokenizer, kwargs, _load_template(template)
        self._end_text, self._end_id = self._find_end_mark(stop_ids)

    def prompt(
        self, items: list[Item], body: dict[str, Any], prefix: list[int] | None, covered: int
    ) -> tuple[list[int], int]:
        """Prompt ids of the next turn, and how many of them are ``prefix``, kept as they were.

        ``prefix``: ids of the previous call, prompt and sampled. ``covered``: how many ``items`` they stand
        for; the caller vouches that these items are as they were. ``body``: the request in Chat Completions
        form; tools and template arguments are read from it.

        Raises:
            RolloutError: the template refuses this conversation.
        """
        text = self._render(items, body, generate=True)
        if prefix and self._end_text:
            suffix = self._suffix(text, items[:covered], body, prefix)
            if suffix is not None:
                return prefix + suffix, len(prefix)
        return self._encode(text), 0

    def _suffix(self, text: str, seen: list[Item], body: dict[str, Any], prefix: list[int]) -> list[int] | None:
        """Ids to append to ``prefix``, or None when the template rewrote what ``prefix`` stands for."""
        start = last_turn_start(seen)
        if start == len(seen):
            return None
        try:
            before = self._render(seen[:start], body, generate=False) if start else ""
        except RolloutError:
            return None
        at = text.find(self._end_text, len(before))
        if at < 0 or not text.startswith(before) or not _reasoning_kept(seen[start:], text[len(before) : at]):
            return None
        ended = prefix[-1] == self._end_id
        if text.count(self._end_text, 0, at) + 1 != prefix.count(self._end_id) + (not ended):
            return None
        # Encoded with the mark in front, as it stands in the whole text. A turn cut short gets its mark now.
        fresh = self._encode(text[at:])
        return fresh[1:] if ended else fresh

    def _render(self, items: list[Item], body: dict[str, Any], *, generate: bool) -> str:
        try:
            rendered: str = self._tokenizer.apply_chat_template(
                template_messages(items),
                tools=body.get("tools"),
                chat_template=self._template,
                add_generation_prompt=generate,
                tokenize=False,
                **template_kwargs(body, self._kwargs),
            )
        except RolloutError:
            raise
        except Exception as error:
            raise rejected(f"the chat template refused the conversation: {describe(error)}") from error
        return rendered

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _find_end_mark(self, stop_ids: Sequence[int]) -> tuple[str, int]:
        """Text and id of the token with which the template ends the model's turn; ``("", -1)``: none."""
        items = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
        tail = self._render(items, {}, generate=False).rpartition(_MARK)[2]
        ids = self._encode(tail)
        if not ids or ids[0] not in stop_ids:
            return "", -1
        return self._tokenizer.decode(ids[:1], skip_special_tokens=False), ids[0]


def template_kwargs(body: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Template arguments: the deployment's defaults, over them the request's own."""
    kwargs = {**defaults, **(body.get("chat_template_kwargs") or {})}
    if body.get("reasoning_effort"):
        kwargs["reasoning_effort"] = body["reasoning_effort"]
    return kwargs


def _reasoning_kept(turn: list[Item], text: str) -> bool:
    return all(item_text(item).strip() in text for item in turn if item.get("type") == "reasoning")


def _load_template(given: str | None) -> str | None:
    if given is None or "{" in given:
        return given
    return Path(given).read_text(encoding="utf-8")
