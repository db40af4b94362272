"""Reasoning-gym's scorers, with what they take for granted made sure of first."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import reasoning_gym

from gym_ray.environments.reasoning_gym.answers import is_harmless
from gym_ray.types.errors import describe

Entry = dict[str, Any]
"""``question``, ``answer``, ``metadata``."""

UNREADABLE = "("
"""Stands for an answer that must not be evaluated: every scorer that evaluates fails to read it."""
GRIDS = frozenset({"arc_agi", "rearc"})
"""Datasets whose scorer compares grids of tuples, which JSON has turned into lists."""


class NoVerdict(Exception):
    """The scorer cannot judge this entry, whatever the answer."""


def score(name: str, answer: str, entry: Entry) -> float:
    """What the scorer of dataset ``name`` gives. An answer that makes it raise gets 0.0.

    Raises:
        NoVerdict: there is no such dataset, or the scorer raises for the entry's own answer too.
    """
    scorer = _scorer(name)
    entry = _restored(name, entry)
    seen = answer if is_harmless(name, answer, entry["answer"]) else UNREADABLE
    try:
        return float(scorer(answer=seen, entry=entry))
    except Exception as error:
        _check_entry(name, scorer, entry, error)
        return 0.0


def _check_entry(name: str, scorer: Callable[..., float], entry: Entry, error: Exception) -> None:
    try:
        scorer(answer=entry["answer"], entry=entry)
    except Exception:
        raise NoVerdict(f"the scorer of {name!r} fails: {describe(error)}") from None


@cache
def _scorer(name: str) -> Callable[..., float]:
    try:
        scorer: Callable[..., float] = reasoning_gym.get_score_answer_fn(name)
    except Exception as error:
        raise NoVerdict(f"reasoning-gym has no scorer for {name!r}: {describe(error)}") from None
    return scorer


def _restored(name: str, entry: Entry) -> Entry:
    if name not in GRIDS:
        return entry
    metadata = {
        key: tuple(map(tuple, value)) if key in ("input", "output") and isinstance(value, list) else value
        for key, value in entry["metadata"].items()
    }
    return {**entry, "metadata": metadata}
