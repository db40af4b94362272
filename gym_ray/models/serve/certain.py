"""Which part of a text still being sampled is already certain.

Parsers of the model families read a whole text, and take much back while it grows: a call that turns out
malformed makes the text around it plain again. Streaming gives only what no continuation can change, so that
what was streamed and what is read at the end are the same. Reasoning and text stream up to the first mark
that could mean something else (an end of reasoning, a call, any special token); what a mark begins waits
for the end, calls above all. Whether a parser allows even this is found out by asking it, with a few words
(:func:`learn_reasoning`); where it does not, everything waits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["thought", "text"]
Said = tuple[Kind, str]

_THOUGHT, _TEXT = "\n hm \n", "\n so \n"
_DECLARED = ("tool_calls_start_token", "tool_call_start_token")


@dataclass(frozen=True)
class Guide:
    """How the texts of one pair of parsers run.

    ``begins``: what comes first; None: nobody can say, so nothing streams. ``start``, ``end``: the marks
    around reasoning. ``calls``: the marks that may begin a call; None: any character may. ``keeps``: whether
    white space stays at the head of a thought, at its tail, and at the head of the text after it.
    """

    begins: Kind | None
    start: str = ""
    end: str = ""
    calls: frozenset[str] | None = frozenset()
    keeps: tuple[bool, bool, bool] = (True, True, True)


def learn_reasoning(parser: Any, read: Callable[[str], tuple[str, str]]) -> Guide:
    """The guide of a reasoning parser (None: there is none). ``read``: thought and text of a whole output."""
    if parser is None:
        return Guide("text")
    start, end = parser.reasoning_start_str, parser.reasoning_end_str
    if not start or not end:
        # Those on vLLM's parser engine have no marks when their template turns thinking off.
        return Guide("text" if parser.engine_based_streaming else None)
    whole = f"{_THOUGHT}{end}{_TEXT}"
    thought, text = read(whole)
    if (thought, text) == ("", whole) and read(_THOUGHT) == ("", _THOUGHT):
        return Guide("text")
    sure = thought.strip() == _THOUGHT.strip() and text.strip() == _TEXT.strip()
    if not sure or read(f"{start}{whole}") != (thought, text) or read(_THOUGHT)[1]:
        return Guide(None)
    keeps = (thought[0].isspace(), thought[-1].isspace(), text[0].isspace())
    return Guide("thought", start, end, keeps=keeps)


def call_marks(parser: Any) -> frozenset[str] | None:
    """What may begin a call for this tool parser (None: there is none); None: it does not say."""
    if parser is None:
        return frozenset()
    if parser.engine_based_streaming:
        literals: Iterable[str] = parser._parser_engine.parser_engine_config.terminal_literals
        return frozenset(literal for literal in literals if len(literal) > 1) or None
    return frozenset(getattr(parser, name) for name in _DECLARED if hasattr(parser, name)) or None


class Certain:
    """Takes the text as it grows, gives what is certain. One per generation."""

    def __init__(self, guide: Guide, special: Iterable[str], stops: Iterable[str]) -> None:
        """``special``: texts of all special tokens. ``stops``: strings that end the generation."""
        self._guide, self._phase, self._pending, self._fresh = guide, guide.begins, "", True
        marks = {guide.start, guide.end, *(guide.calls or ()), *special, *stops} - {""}
        self._marks = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True)))) if marks else None
        self._heads = {mark[:length] for mark in marks for length in range(1, len(mark))}
        self._longest = max(map(len, self._heads), default=0)

    def feed(self, text: str) -> list[Said]:
        """What ``text``, which comes next, makes certain: pieces in order, none empty."""
        pieces: list[Said] = []
        self._pending += text
        while self._phase is not None and self._step(pieces):
            pass
        return [piece for piece in pieces if piece[1]]

    def _step(self, pieces: list[Said]) -> bool:
        """Give what comes before the next mark; true when there is more to look at behind it."""
        if self._phase == "text" and self._guide.calls is None:
            self._phase = None
            return False
        found = self._marks.search(self._pending) if self._marks else None
        if found is None:
            self._give(pieces, len(self._pending) - self._doubtful())
            return False
        mark, start = found.group(), found.start()
        if self._phase == "thought" and mark == self._guide.start and self._fresh and start == 0:
            self._pending = self._pending[found.end() :]
            return True
        self._give(pieces, start)
        if self._phase == "thought" and mark == self._guide.end:
            tail = self._pending[: len(self._pending) - len(self._pending.lstrip())]
            if self._guide.keeps[1] and not self._fresh:
                pieces.append(("thought", tail))
            self._phase, self._fresh = "text", True
            self._pending = self._pending[len(tail) + len(mark) :]
            return True
        self._phase = None
        return False

    def _give(self, pieces: list[Said], upto: int) -> None:
        """Give the pending text up to there, but for white space at its end, which a parser may drop."""
        sure = self._pending[:upto].rstrip()
        if not sure or self._phase is None:
            return
        self._pending = self._pending[len(sure) :]
        keeps_head = self._guide.keeps[0 if self._phase == "thought" else 2]
        pieces.append((self._phase, sure if keeps_head or not self._fresh else sure.lstrip()))
        self._fresh = False

    def _doubtful(self) -> int:
        """How many characters at the end may be the beginning of a mark."""
        lengths = range(min(self._longest, len(self._pending)), 0, -1)
        return next((length for length in lengths if self._pending[-length:] in self._heads), 0)


class Detokenizer:
    """Text of ids as they come. Characters that need several tokens wait until they are whole."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._read = 0

    def feed(self, ids: list[int]) -> str:
        """The text that ``ids``, which come next, add.

        Some tokenizers write a token differently at the start of a text, so that the ids of the step before
        stay in front. Source of the method: Hugging Face text-generation-inference, ``decode_token``.
        """
        self._ids += ids
        before = self._decode(self._ids[: self._read])
        now = self._decode(self._ids)
        if now.endswith("�"):
            return ""
        self._ids, self._read = self._ids[self._read :], len(self._ids) - self._read
        return now[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text
