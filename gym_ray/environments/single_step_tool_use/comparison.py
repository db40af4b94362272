"""Is a call the expected one? The rules, thresholds and categories are those of NeMo Gym's
``single_step_tool_use_with_argument_comparison``.

Types must agree (an integer is no float), objects must have the same keys, lists the same length. Numbers with a
fraction agree within a threshold. Strings of two or more words agree when they share enough words, in any order and
case; shorter ones must be equal.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Category(StrEnum):
    """What a step was, in NeMo Gym's words."""

    NOTHING = "No tool call or chat message was found in the response"
    NO_CALL = "No tool call was found when one was expected"
    MESSAGE = "A chat message was found as expected"
    NO_MESSAGE = "A tool call was executed when a chat message was expected"
    TOOL = "The tool in a tool call is not the expected tool"
    DECODE = "An error occurred when decoding the arguments string in a tool call as a JSON object"
    TYPE = "The type of an argument value in a tool call is different than the expected type"
    KEYS = (
        "The keys in an object in an argument value in a tool call are different than the keys in the expected object"
    )
    LENGTH = "A list in an argument value in a tool call has a different length than the expected list"
    VALUE = "An argument value in a tool call is different than the expected value"
    CALL = "A tool call that matches the expected tool call was found"
    COUNT = "The number of tool calls in a batch is different than expected"
    BATCH = "A tool-call batch that matches the expected tool calls was found"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """``words``: least share of common words. ``floats``: largest difference of numbers with a fraction."""

    words: float
    floats: float


class Comparison:
    """Compares calls under fixed thresholds."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds

    def problem(
        self, wanted: str, arguments: dict[str, Any], name: str, given: dict[str, Any] | None
    ) -> Category | None:
        """None when the call ``name(given)`` is the wanted one, else why not. ``given`` is None when unreadable."""
        if name != wanted:
            return Category.TOOL
        return Category.DECODE if given is None else self._difference(arguments, given)

    def _difference(self, wanted: Any, given: Any) -> Category | None:
        if not isinstance(given, type(wanted)) or isinstance(given, bool) is not isinstance(wanted, bool):
            return Category.TYPE
        if isinstance(wanted, dict):
            if wanted.keys() != given.keys():
                return Category.KEYS
            pairs = [(value, given[key]) for key, value in wanted.items()]
        elif isinstance(wanted, list):
            if len(wanted) != len(given):
                return Category.LENGTH
            pairs = list(zip(wanted, given, strict=True))
        else:
            return None if self._agrees(wanted, given) else Category.VALUE
        return next((problem for left, right in pairs if (problem := self._difference(left, right))), None)

    def _agrees(self, wanted: Any, given: Any) -> bool:
        if isinstance(wanted, float):
            return bool(abs(given - wanted) < self._thresholds.floats)
        return self._similar(wanted, given) if isinstance(wanted, str) else bool(wanted == given)

    def _similar(self, wanted: str, given: str) -> bool:
        if wanted == given:
            return True
        left, right = wanted.lower().split(), given.lower().split()
        if len(left) < 2 or len(right) < 2:
            return False
        shared = (Counter(left) & Counter(right)).total()
        return shared / (len(left) + len(right)) >= self._thresholds.words
