"""Times of day, in minutes since midnight, and what a row's constraint allows."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CLOCK_24 = re.compile(r"(\d{1,2}):(\d{1,2})", re.ASCII)
_CLOCK_12 = re.compile(r"(\d{1,2})(?::(\d{1,2}))?\s*(am|pm)", re.ASCII)


def minutes(text: str) -> int:
    """``14:30``, ``2:30pm`` or ``2pm``, as minutes since midnight.

    Raises:
        ValueError: it is no time.
    """
    text = text.strip()
    if match := _CLOCK_24.fullmatch(text):
        hour, minute = int(match[1]), int(match[2])
    elif match := _CLOCK_12.fullmatch(text):
        hour, minute = int(match[1]) % 12 + (12 if match[3] == "pm" else 0), int(match[2] or 0)
    else:
        raise ValueError(f"{text!r} is no time")
    if hour > 24 or minute > 59:
        raise ValueError(f"{text!r} is no time")
    return hour * 60 + minute


@dataclass(frozen=True, slots=True)
class Window:
    """When an event may be: it begins at ``earliest`` or later and ends by ``latest``; ``start``: exactly then."""

    earliest: int
    latest: int
    start: int | None = None

    def holds(self, begin: int, end: int) -> bool:
        """True when an event from ``begin`` to ``end`` is within it."""
        return self.earliest <= begin and end <= self.latest and self.start in (None, begin)


def window(constraint: str | None, min_time: str, max_time: str) -> Window:
    """The window of ``before T`` (ends by T), ``after T``, ``between T and U``, ``at T`` (begins at T) or None,
    within ``min_time`` to ``max_time``.

    Raises:
        ValueError: the constraint is none of these, or a time is none.
    """
    first, last = minutes(min_time), minutes(max_time)
    word, _, rest = (constraint or "").strip().partition(" ")
    match word:
        case "":
            return Window(first, last)
        case "before":
            return Window(first, min(last, minutes(rest)))
        case "after":
            return Window(max(first, minutes(rest)), last)
        case "at":
            return Window(first, last, minutes(rest))
        case "between":
            low, _, high = rest.partition(" and ")
            return Window(max(first, minutes(low)), min(last, minutes(high)))
    raise ValueError(f"{constraint!r} is none of `before T`, `after T`, `between T and U`, `at T`")
