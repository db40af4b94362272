r"""How an answer letter is read out of a model's text.

Each reader is a pure function from text to a letter, or None when the text holds no clear answer. All take time
linear in the text: what is looked at closely, a box or the rest of a line, is cut at 4096 characters. The modes'
names and meanings are NeMo Gym's ``mcqa``, so that its rows get the same reward here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Literal

from gym_ray.environments.boxed import last_boxed
from gym_ray.environments.patterns import last_match

GradingMode = Literal["strict_single_letter_boxed", "lenient_boxed", "lenient_answer_colon", "lenient_answer_colon_md"]
Options = Mapping[str, str]
"""Option text by upper-case letter, in the row's order."""

_PADDED_LETTER = re.compile(r"[^A-Za-z]*([A-Z])[^A-Za-z]*")
_LABEL = re.compile(r"\s*([A-Z])\s*[:).\-]")
_AFTER_COLON = re.compile(r"answer\s*:\s*(.{1,4096})", re.IGNORECASE)
_AFTER_COLON_MD = re.compile(r"[*_]{0,2}answer[*_]{0,2}\s*:[*_\s]{0,2}(.{1,4096})", re.IGNORECASE)
_LEADING_LETTER = re.compile(r"([A-Za-z])(?![A-Za-z0-9])")
_LONE_CAPITAL = re.compile(r"\b[A-Z]\b")
_LONE_LETTER = re.compile(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])")
_LIST_SEPARATOR = re.compile(r"\s*[/|&,;]\s*|\s+(?:(?:or|and)\s+)?", re.IGNORECASE)
_SCRIPTS = ("أبجد", "অবডঢ", "\uff21\uff22\uff23\uff24")
"""The first four answer letters in Arabic, Bengali and full-width forms."""
_OTHER_SCRIPTS = str.maketrans(
    {letter: f" {latin}" for script in _SCRIPTS for letter, latin in zip(script, "ABCD", strict=True)}
)


def boxed_letter(text: str, options: Options) -> str | None:
    r"""The capital in the last box: ``\boxed{B}``, ``\boxed{(B)}``, ``\boxed{\text{B}}``, ``\boxed{B: its text}``."""
    inner = last_boxed(text)
    return None if inner is None else _letter_of_box(inner, options)


def boxed_letter_or_text(text: str, options: Options) -> str | None:
    """Like :func:`boxed_letter`; else the one option whose whole text stands in the box."""
    inner = last_boxed(text)
    if inner is None:
        return None
    if letter := _letter_of_box(inner, options):
        return letter
    content = _folded(inner)
    found = [letter for letter, option in options.items() if (folded := _folded(option)) and folded in content]
    return found[0] if len(found) == 1 else None


def after_colon(text: str, options: Options) -> str | None:
    """What follows the first ``Answer:`` on its line: a letter alone, or exactly one option's text."""
    match = _AFTER_COLON.search(text)
    if match is None:
        return None
    answer = _unwrapped(match.group(1)).strip()
    return answer.upper() if answer.upper() in options else _letter_of_text(answer, options)


def after_colon_markdown(text: str, options: Options) -> str | None:
    """What follows the last readable ``Answer:``, emphasis ignored. ``A or B`` is no answer."""
    for answer in reversed(_AFTER_COLON_MD.findall(text)):
        if letter := _letter_of_phrase(answer, options):
            return letter
    return None


def by_patterns(text: str, options: Options, patterns: Iterable[str]) -> str | None:
    """The last match of the first of the row's own patterns that gives a letter or an option's text.

    A letter is believed even when the row lists no such option: the pattern was written for the row's prompt.

    Raises:
        SlowPattern: a pattern did not end in time.
    """
    for pattern in patterns:
        match = last_match(pattern, text)
        if match is None:
            continue
        answer = match.translate(_OTHER_SCRIPTS).strip().upper()
        if len(answer) == 1 and answer.isalpha():
            return answer
        if letter := _letter_of_text(answer, options):
            return letter
    return None


READERS: dict[GradingMode, Callable[[str, Options], str | None]] = {
    "strict_single_letter_boxed": boxed_letter,
    "lenient_boxed": boxed_letter_or_text,
    "lenient_answer_colon": after_colon,
    "lenient_answer_colon_md": after_colon_markdown,
}


def _letter_of_box(inner: str, options: Options) -> str | None:
    if inner in options:
        return inner
    inner = _unwrapped(inner.strip())
    match = _PADDED_LETTER.fullmatch(inner) or _LABEL.match(inner)
    return match.group(1) if match and match.group(1) in options else None


def _letter_of_phrase(answer: str, options: Options) -> str | None:
    answer = answer.translate(_OTHER_SCRIPTS).strip("*_` \t\n\r.,;:")
    if _lists_several(answer, options):
        return None
    leading = _LEADING_LETTER.match(answer)
    capitals = [] if leading else _LONE_CAPITAL.findall(answer)
    letter = leading.group(1).upper() if leading else capitals[-1] if capitals else ""
    return letter if letter in options else None


def _lists_several(answer: str, options: Options) -> bool:
    """True for ``A/B``, ``A, C`` or ``B or D``: two different letters with only a separator between."""
    letters = [match for match in _LONE_LETTER.finditer(answer) if match.group().upper() in options]
    return any(
        left.group().upper() != right.group().upper() and _LIST_SEPARATOR.fullmatch(answer, left.end(), right.start())
        for left, right in pairwise(letters)
    )


def _letter_of_text(answer: str, options: Options) -> str | None:
    folded = _folded(answer)
    return next((letter for letter, option in options.items() if _folded(option) == folded), None)


def _unwrapped(text: str) -> str:
    r"""Without the ``\text{...}`` wrappers around it."""
    while text.startswith("\\text{") and text.endswith("}"):
        text = text[6:-1].strip()
    return text


def _folded(text: str) -> str:
    """Lower case, runs of white space as one blank."""
    return " ".join(text.lower().split())
