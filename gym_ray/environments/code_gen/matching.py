"""Whether a program's output, or a function's value, is the expected one. LiveCodeBench's rules, with a tolerance.

Run outside the sandbox, on data alone: whatever the program printed or returned is only text or JSON here.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

TOLERANCE = Decimal("1e-6")
"""Absolute, or relative to an expected number above 1."""
_VERDICTS = ("yes", "no")


def same_output(expected: str, printed: str) -> bool:
    """Line by line, white space around each ignored: equal text, ``yes`` and ``no`` in any case, or equal numbers
    (with a tolerance where one of the two is written with a point or exponent)."""
    lines, found = _lines(expected), _lines(printed)
    return len(lines) == len(found) and all(map(_same_line, lines, found))


def same_value(expected: Any, value: Any) -> bool:
    """Equal JSON values; floats, alone or as elements of one list, within 1e-5 relative and 1e-8 absolute."""
    if expected == value or json.dumps(expected) == json.dumps(value) or _close(expected, value):
        return True
    both_lists = isinstance(expected, list) and isinstance(value, list) and len(expected) == len(value)
    return both_lists and all(map(_close, expected, value))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_line(expected: str, found: str) -> bool:
    if expected == found:
        return True
    if expected.lower() in _VERDICTS and expected.lower() == found.lower():
        return True
    wanted, given = expected.split(), found.split()
    return len(wanted) == len(given) and all(map(_same_number, wanted, given))


def _same_number(expected: str, found: str) -> bool:
    try:
        wanted, given = Decimal(expected), Decimal(found)
        if wanted == given:
            return True
        if not any("." in token or "e" in token.lower() for token in (expected, found)):
            return False
        if not (wanted.is_finite() and given.is_finite()):
            return False
        return abs(wanted - given) <= TOLERANCE * max(abs(wanted), Decimal(1))
    except (InvalidOperation, ValueError, ArithmeticError):
        return False


def _close(expected: Any, value: Any) -> bool:
    if expected == value:
        return True
    if not (isinstance(expected, float) or isinstance(value, float)):
        return False
    try:
        if isinstance(expected, bool) or isinstance(value, bool):
            return False
        return abs(float(value) - float(expected)) <= 1e-8 + 1e-5 * abs(float(expected))
    except (TypeError, ValueError, OverflowError):
        return False
