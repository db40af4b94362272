"""Word lists (``words.json``): common small words by script and language, and lists that instructions name."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson

WORDS: dict[str, Any] = orjson.loads((files(__package__) / "words.json").read_bytes())
"""``languages``: script -> language -> words. ``names``, ``pronouns``, ``stop_words``, ``conjunctions``: English."""


def words_of(name: str) -> frozenset[str]:
    """One of the English lists."""
    return frozenset(WORDS[name].split())
