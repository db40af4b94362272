r"""Whether two mathematical answers are equal, by math-verify, within a few seconds.

math-verify reads LaTeX by a grammar and compares with SymPy: numbers to six decimals, expressions after
simplification, sets, intervals, matrices, equations by their solution. It bounds itself by ``SIGALRM``, which only
the main thread may use; elsewhere it runs unbounded and the caller's deadline has to end it. What does not end in
time counts as not equal.
"""

from __future__ import annotations

import logging
import re
import threading
from functools import lru_cache
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
from math_verify.errors import TimeoutException

STEP_SECONDS = 2
"""Whole seconds (an alarm's grain) for each of: reading one answer, comparing one pair."""
MAX_DEPTH = 30
"""Deeper nested brackets are no answer: the grammar's time grows steeply with depth."""

_LATEX = (LatexExtractionConfig(),)
_ANYTHING = (ExprExtractionConfig(), LatexExtractionConfig())
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))

# It warns about every text it cannot read, with the text.
logging.getLogger("math_verify").setLevel(logging.CRITICAL)


class UnreadableAnswer(Exception):
    """The expected answer cannot be read as mathematics: nothing can be compared with it."""


def equal(expected: str, answer: str) -> bool:
    """Whether ``answer``, the content of a box, equals ``expected``.

    Raises:
        UnreadableAnswer: ``expected`` cannot be read, and ``answer`` is not the same text.
    """
    expected, answer = bare(expected), bare(answer)
    if expected == answer:
        return True
    if _INTEGER.fullmatch(expected) and _INTEGER.fullmatch(answer):
        return int(expected) == int(answer)
    gold = _gold(expected)
    return _depth(answer) <= MAX_DEPTH and _compare(gold, _read(f"\\boxed{{{answer}}}", _LATEX))


def equal_in_text(expected: str, text: str) -> tuple[bool, str | None]:
    """Whether the answer that math-verify finds in ``text`` equals ``expected``, and that answer as written.

    Raises:
        UnreadableAnswer: see :func:`equal`.
    """
    gold = _gold(bare(expected))
    found = _read(text, _ANYTHING) if _depth(text) <= MAX_DEPTH else []
    written = next((part for part in reversed(found) if isinstance(part, str)), None)
    return _compare(gold, found), written


def bare(answer: str) -> str:
    r"""Without white space and one pair of math delimiters (``$...$``, ``\(...\)``, ...) around it."""
    answer = answer.strip()
    for left, right in _DELIMITERS:
        if answer.startswith(left) and answer.endswith(right) and len(answer) > len(left) + len(right):
            return answer[len(left) : -len(right)].strip()
    return answer


@lru_cache(maxsize=1024)
def _gold(expected: str) -> tuple[Any, ...]:
    gold = _read(f"\\boxed{{{expected}}}", _LATEX)
    if not gold:
        raise UnreadableAnswer(f"expected_answer {expected[:200]!r} cannot be read as mathematics")
    return tuple(gold)


def _seconds() -> int | None:
    return STEP_SECONDS if threading.current_thread() is threading.main_thread() else None


def _read(text: str, targets: tuple[Any, ...]) -> list[Any]:
    try:
        parsed: list[Any] = parse(text, targets, parsing_timeout=_seconds())
    except (TimeoutException, RecursionError):
        return []
    return parsed


def _compare(gold: tuple[Any, ...], found: list[Any]) -> bool:
    try:
        return bool(verify(list(gold), found, timeout_seconds=_seconds()))
    except (TimeoutException, RecursionError):
        return False


def _depth(text: str) -> int:
    """How deep brackets nest, closing ones trusted."""
    depth = deepest = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    return deepest
