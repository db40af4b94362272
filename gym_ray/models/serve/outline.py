"""A conversation's outline: which kinds of items followed each other, without what they said.

An outline has a head (what stood before the model first spoke) and rounds (what the model said in one turn and
what followed it), each kind of round once, where it came last. So it stays small however long the
conversation grows, and :func:`stand_in` makes a short conversation of it that a template should treat alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

from gym_ray.models.serve.messages import is_output
from gym_ray.types.items import (
    Item,
    assistant_message,
    function_call,
    function_call_output,
    item_text,
    reasoning,
)

Kind = tuple[str, str, bool]
"""Type, role, whether it has text."""
Round = tuple[Kind, ...]
Outline = tuple[Round, ...]
WORD = "gym ray"


def outline_of(items: list[Item]) -> Outline | None:
    """The outline; None when an item is of a kind that has no stand-in."""
    found: Outline | None = None
    for new_round in _rounds(items):
        found = (new_round,) if found is None else extended(found, new_round)
    return found if found is None or None not in {kind for its in found for kind in its} else None


def extended(outline: Outline, new_round: Iterable[Kind]) -> Outline:
    """``outline`` after one more round. Adjacent items of one kind count as two at most."""
    short = tuple(kind for kind, run in groupby(new_round) for _ in range(min(2, len(list(run)))))
    return (outline[0], *(its for its in outline[1:] if its != short), short)


def kinds(items: Iterable[Item]) -> tuple[Any, ...]:
    """The kind of each item; None for one without a stand-in."""
    return tuple(_kind(item) for item in items)


def stand_in(outline: Outline, say: Callable[[int], str] = lambda position: WORD) -> list[Item]:
    """A conversation of this outline; ``say(n)`` is its n-th text."""
    items: list[Item] = []
    waiting: list[str] = []
    for kind, role, has_text in (kind for its in outline for kind in its):
        text = say(len(items)) if has_text else ""
        # Nine letters and digits: some templates accept nothing else.
        call_id = f"gymray{len(items):03d}"
        if kind == "function_call":
            waiting.append(call_id)
            items.append(function_call("gym_ray", "{}", call_id))
        elif kind == "function_call_output":
            items.append(function_call_output(waiting.pop(0) if waiting else call_id, text))
        elif kind == "reasoning":
            items.append(reasoning(text))
        elif role == "assistant":
            items.append(assistant_message(text))
        else:
            items.append({"type": "message", "role": role, "content": text})
    return items


def _rounds(items: list[Item]) -> list[tuple[Any, ...]]:
    rounds: list[list[Any]] = [[]]
    speaking = False
    for item in items:
        if is_output(item) and not speaking:
            rounds.append([])
        speaking = is_output(item)
        rounds[-1].append(_kind(item))
    return [tuple(its) for its in rounds]


def _kind(item: Item) -> Kind | None:
    kind, role = item.get("type") or "message", item.get("role") or ""
    if kind in ("reasoning", "function_call"):
        return kind, "", kind == "reasoning" and bool(item_text(item))
    if kind == "function_call_output":
        output = item.get("output")
        return (kind, "", bool(output)) if isinstance(output, str) else None
    if kind != "message" or role == "tool" or "tool_calls" in item:
        return None
    return kind, role, bool(item_text(item))
