"""Regular expressions that came with a task row, run under a deadline.

The pattern is the dataset's and the text is the model's, so together they may backtrack for ever. Python's own
``re`` cannot be interrupted; the ``regex`` package (same syntax) stops by itself when its time is up.
"""

from __future__ import annotations

from functools import lru_cache

import regex

BUDGET_S = 0.01
"""CPU seconds per search: ten times what sane patterns need for 20,000 characters, little for an event loop."""


class SlowPattern(Exception):
    """A pattern was still searching at its deadline, so nothing is known about the text."""


@lru_cache(maxsize=4096)
def _compiled(pattern: str, flags: int) -> regex.Pattern[str] | None:
    try:
        return regex.compile(pattern, flags)
    except regex.error:
        return None


def is_valid(pattern: str) -> bool:
    """True when the pattern compiles."""
    return _compiled(pattern, 0) is not None


def last_match(pattern: str, text: str, flags: int = regex.IGNORECASE) -> str | None:
    """The last match, by default ignoring case: its first non-empty group, or all of it when it has none.

    None when nothing matches or the pattern does not compile.

    Raises:
        SlowPattern: the deadline passed.
    """
    compiled = _compiled(pattern, flags)
    if compiled is None:
        return None
    try:
        matches = compiled.findall(text, timeout=BUDGET_S)
    except TimeoutError:
        raise SlowPattern(pattern) from None
    if not matches:
        return None
    last = matches[-1]
    return last if isinstance(last, str) else next(filter(None, last), "")


def occurs(pattern: str, text: str) -> bool:
    """True when the pattern is found anywhere in the text (JSON Schema's meaning of ``pattern``).

    Raises:
        SlowPattern: the deadline passed.
    """
    compiled = _compiled(pattern, 0)
    try:
        return compiled is not None and compiled.search(text, timeout=BUDGET_S) is not None
    except TimeoutError:
        raise SlowPattern(pattern) from None
