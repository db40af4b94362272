r"""Where the answer stands in a text. The modes' names and meanings are those of NeMo Gym's ``string_match``.

All take time linear in the text; an answer of more than 4,096 characters is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from gym_ray.environments.boxed import last_boxed

ExtractionMode = Literal["boxed", "final_answer", "last_line", "full_response"]

MAX_ANSWER_CHARS = 4096
"""A longer answer is not compared."""

_AFTER_COLON = re.compile(r"answer\s*[:\uff1a]\s*(.+)", re.IGNORECASE)
_TEXT = "\\text{"
_BRACE = re.compile(r"[{}]")


def boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed{}``, ``\text{}`` around all of it taken off."""
    inner = last_boxed(text)
    return None if inner is None else _unwrapped(inner)


def final_answer(text: str) -> str | None:
    """What follows the last ``Answer:`` or ``Final answer:`` on its line, less full stops; else the last box."""
    found = _AFTER_COLON.findall(text)
    return found[-1].strip().rstrip(". ") if found else boxed(text)


def last_line(text: str) -> str | None:
    """The last line that is not blank."""
    lines = text.rstrip().splitlines()
    return lines[-1].strip() if lines else None


def full_response(text: str) -> str | None:
    """All of it."""
    return text.strip() or None


READERS: dict[ExtractionMode, Callable[[str], str | None]] = {
    "boxed": boxed,
    "final_answer": final_answer,
    "last_line": last_line,
    "full_response": full_response,
}


def answer_in(text: str, mode: ExtractionMode) -> str | None:
    """The answer, or None when there is none or it is too long."""
    found = READERS[mode](text)
    return found if found is not None and len(found) <= MAX_ANSWER_CHARS else None


def _unwrapped(inner: str) -> str:
    r"""Without white space and any ``\text{...}`` around all of it. Indices move inwards, so it stays linear."""
    close = _closing_braces(inner)
    start, end = 0, len(inner)
    while True:
        while start < end and inner[start].isspace():
            start += 1
        while start < end and inner[end - 1].isspace():
            end -= 1
        if not inner.startswith(_TEXT, start, end) or close.get(start + len(_TEXT) - 1) != end - 1:
            return inner[start:end]
        start, end = start + len(_TEXT), end - 1


def _closing_braces(text: str) -> dict[int, int]:
    """Position of each opening brace to that of its closing one."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match.group() == "{":
            opened.append(match.start())
        elif opened:
            pairs[opened.pop()] = match.start()
    return pairs
