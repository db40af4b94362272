"""What environments that grade function calls share: which calls count, and how they are matched.

Such rows list tools that nobody implements: the answer is the call itself. A tool loop answers it with an error and
goes on, so only the first turn, all that comes before the first tool output, is graded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, takewhile
from typing import Any

import orjson

from gym_ray.types.items import Item, function_calls

MAX_CALLS = 256
"""Calls of one turn that are compared; more are only counted. Keeps matching short whatever the model wrote."""


def first_turn(items: Iterable[Item]) -> list[Item]:
    """The items before the first tool output."""
    return list(takewhile(lambda item: item.get("type") != "function_call_output", items))


def first_calls(items: Iterable[Item]) -> list[Item]:
    """The function calls of the first turn."""
    return function_calls(first_turn(items))


def arguments_of(call: Item) -> dict[str, Any] | None:
    """The call's arguments; no text at all means none. None: the text is not one JSON object."""
    text = call.get("arguments")
    if isinstance(text, dict):
        return text
    if not isinstance(text, str):
        return None
    try:
        # orjson: no NaN, no lone surrogates, integers beyond 64 bits become floats. So it can be stored again.
        parsed = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def same(left: Any, right: Any) -> bool:
    """JSON equality: ``1`` equals ``1.0`` and is not ``true``; the order of keys is free."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def includes(given: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
    """True when every wanted argument is given with the same value. More may be given."""
    return given is not None and all(name in given and same(given[name], value) for name, value in wanted.items())


def matching(candidates: Sequence[Sequence[int]]) -> dict[int, int]:
    """The largest pairing: ``candidates[i]`` are the partners that ``i`` could have; returns ``i -> partner``.

    Augmenting paths (Kuhn, 1955): pairing greedily could strand one whose only partner is already taken.
    """
    owner: dict[int, int] = {}

    def place(number: int, tried: set[int]) -> bool:
        for partner in candidates[number]:
            if partner not in tried:
                tried.add(partner)
                if partner not in owner or place(owner[partner], tried):
                    owner[partner] = number
                    return True
        return False

    for number in range(len(candidates)):
        place(number, set())
    return {number: partner for partner, number in owner.items()}


def compared(calls: Sequence[Item]) -> list[Item]:
    """The calls that are compared one by one."""
    return list(islice(calls, MAX_CALLS))
