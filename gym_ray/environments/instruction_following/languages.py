"""Which language a text is in: by its script, and within one script by its most common small words.

Answers are sentences, and in sentences every third word or so is one of these. A text of a few words, or one that
mixes languages evenly, may be taken for another; a text without any letter is in no language.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from gym_ray.environments.instruction_following.words import WORDS

MAX_CHARS = 4000
"""As much of a text is looked at."""

_SCRIPTS = {
    "HANGUL": "ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "zh",
    "THAI": "th",
    "BENGALI": "bn",
    "TAMIL": "ta",
    "TELUGU": "te",
    "HEBREW": "he",
    "KANNADA": "kn",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "MALAYALAM": "ml",
    "GREEK": "el",
}
"""Language of each script that has only one here."""

SMALL_WORDS = {
    script: {language: frozenset(words.split()) for language, words in languages.items()}
    for script, languages in WORDS["languages"].items()
}
"""Common words by script and language."""

_WORD = re.compile(r"[^\W\d_]+(?:[\u0300-\u036f\u0900-\u0dff]+[^\W\d_]*)*")


def language_of(text: str) -> str | None:
    """The ISO 639-1 code of the text's language, or None when it has no letters or none that is known."""
    text = text[:MAX_CHARS].lower()
    scripts = Counter(filter(None, map(_script, filter(str.isalpha, text))))
    if not scripts:
        return None
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > scripts["CJK"] / 10 and scripts["CJK"]:
        return "ja"
    script = scripts.most_common(1)[0][0]
    if script in SMALL_WORDS:
        return _by_words(_WORD.findall(text), SMALL_WORDS[script])
    return _SCRIPTS.get(script)


def _by_words(words: list[str], languages: dict[str, frozenset[str]]) -> str | None:
    scores = {language: sum(word in common for word in words) for language, common in languages.items()}
    best = max(scores, key=lambda language: scores[language])
    return best if scores[best] else None


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
