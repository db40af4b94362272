"""What a word, a sentence and a paragraph are. All functions take time linear in the text.

Sentences end at ``.``, ``!`` or ``?`` (several count once, closing quotes and brackets belong to them) before white
space or the end; titles, initials, abbreviations and numbers do not end one. A line break alone ends none.
"""

from __future__ import annotations

import re
import string

_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"\w+(?:[.'\u2019-]\w+)*|[^\w\s]")
_END = re.compile(r"[.!?]+[\"'\u201d\u2019)\]*_]*(?=\s|$)")
_NO_END = re.compile(
    r"(?:^|[\s(])(?:mr|mrs|ms|dr|prof|capt|lt|st|jr|sr|vs|etc|e\.g|i\.e|no|vol|fig|inc|ltd|co|u\.s|(?-i:[A-Z]))\.$",
    re.IGNORECASE,
)
_LOOK_BACK = 12
_DIVIDER = re.compile(r"\s?\*\*\*\s?")
PUNCTUATION = str.maketrans("", "", string.punctuation)
"""For ``str.translate``: takes ASCII punctuation out."""
MARKS = string.punctuation + " "
"""For ``str.strip``."""


def count_words(text: str) -> int:
    """Runs of letters, digits and underscores."""
    return sum(1 for _ in _WORD.finditer(text))


def tokens(text: str) -> list[str]:
    """Words with their inner hyphens and apostrophes, and each punctuation mark by itself."""
    return _TOKEN.findall(text)


def plain_words(text: str) -> list[str]:
    """Words in lower case, all ASCII punctuation taken out."""
    return text.lower().translate(PUNCTUATION).split()


def sentences(text: str) -> list[str]:
    """The sentences, trimmed; what follows the last full stop is one too."""
    found, start = [], 0
    for end in _END.finditer(text):
        stop = end.start() + 1
        if (
            end.group()[0] == "."
            and len(end.group()) == 1
            and _NO_END.search(text[max(start, stop - _LOOK_BACK) : stop])
        ):
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    rest = text[start:].strip()
    return [sentence for sentence in found if sentence] + ([rest] if rest else [])


def divided(text: str) -> list[str] | None:
    """Parts between ``***`` dividers; the first and the last may be missing. None: one within is empty."""
    return _without_empty_ends(_DIVIDER.split(text))


def blocks(text: str) -> list[str] | None:
    """Parts between blank lines, like :func:`divided`."""
    return _without_empty_ends(text.split("\n\n"))


def _without_empty_ends(parts: list[str]) -> list[str] | None:
    if any(not part.strip() for part in parts[1:-1]):
        return None
    return [part for part in parts if part.strip()]


def compare(count: int, relation: str, limit: int) -> bool:
    """``count`` is ``less than`` or ``at least`` ``limit``."""
    return count < limit if relation == "less than" else count >= limit
