r"""The answer in a model's text, and whether a scorer may see it.

Some scorers of reasoning-gym hand the answer to Python's ``eval``, or to SymPy's ``parse_expr``, which does the same.
What a model wrote would then run as code in the verifier. So such an answer is let through only when it is harmless:
a Python literal, or an expression of numbers, one-letter names and well-known functions. Nothing else could be right.
"""

from __future__ import annotations

import ast
import re

LITERALS = frozenset({"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"})
"""Datasets whose scorer calls ``eval`` on an answer that is not equal to the right one."""
EXPRESSIONS = frozenset(
    {"countdown", "intermediate_integration", "polynomial_multiplication", "puzzle24", "simple_integration"}
)
"""Datasets whose scorer calls ``parse_expr`` on the answer."""

MAX_CODE_CHARS = 2_000
"""No right answer to these is longer."""

_FUNCTIONS = "sin cos tan cot sec csc asin acos atan acot sinh cosh tanh exp log ln sqrt pi Abs abs"
_TOKEN = rf"[\s+\-*/^(),]|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+|\b(?:[A-Za-z]|{_FUNCTIONS.replace(' ', '|')})\b"
_EXPRESSION = re.compile(rf"(?:{_TOKEN})*+")


def read_answer(text: str) -> str:
    r"""What stands in the last ``<answer>...</answer>``; else in the first ``\boxed{}``; else the whole text.

    NeMo Gym's ``reasoning_gym`` reads it so. Takes time linear in the text.
    """
    tagged = _last_between(text, "<answer>", "</answer>")
    if tagged is not None:
        return tagged.strip()
    boxed = _first_between(text, "\\boxed{", "}")
    return (text if boxed is None else boxed).strip()


def is_harmless(name: str, answer: str, right: str | None) -> bool:
    """True when the scorer of dataset ``name`` may be given ``answer``; ``right`` is the row's own."""
    if name in LITERALS:
        return answer == right or _is_literal(answer)
    if name in EXPRESSIONS:
        return len(answer) <= MAX_CODE_CHARS and _EXPRESSION.fullmatch(answer) is not None
    return True


def _is_literal(answer: str) -> bool:
    try:
        ast.literal_eval(answer[: MAX_CODE_CHARS + 1])
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return len(answer) <= MAX_CODE_CHARS


def _last_between(text: str, opening: str, closing: str) -> str | None:
    found = None
    start = text.find(opening)
    while start >= 0:
        start += len(opening)
        end = text.find(closing, start)
        if end < 0:
            break
        found = text[start:end]
        start = text.find(opening, end + len(closing))
    return found


def _first_between(text: str, opening: str, closing: str) -> str | None:
    """The first that is not empty."""
    start = text.find(opening)
    while start >= 0:
        start += len(opening)
        end = text.find(closing, start)
        if end < 0:
            return None
        if end > start:
            return text[start:end]
        start = text.find(opening, end)
    return None
