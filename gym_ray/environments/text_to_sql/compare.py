"""Whether two results are the same: as a set of rows, as rows in any order, or as rows in order."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from gym_ray.environments.text_to_sql.database import Outcome, Row

Comparison = Literal["set", "rows", "ordered"]
_HIDDEN = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]", re.DOTALL)
_WORD = re.compile(r"\(|\)|\border\s+by\b", re.IGNORECASE)
_QUERY = re.compile(r"\s*(?:SELECT|WITH|VALUES)\b", re.IGNORECASE)
_CHANGE = re.compile(r"\b(?:INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)


def is_query(sql: str) -> bool:
    """Whether a reference statement only reads."""
    bare = _HIDDEN.sub(" ", sql)
    begins_with = re.match(r"\s*WITH\b", bare, re.IGNORECASE) is not None
    return _QUERY.match(bare) is not None and not (begins_with and _CHANGE.search(bare))


def is_ordered(sql: str) -> bool:
    """Whether a query's own rows are ordered: ORDER BY outside of all brackets."""
    depth = 0
    for word in _WORD.findall(_HIDDEN.sub(" ", sql)):
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= 1
        elif depth == 0:
            return True
    return False


def same(expected: Outcome, found: Outcome, comparison: Comparison) -> bool:
    """Whether rows, and tables after writing, agree. ``set`` compares values exactly and forgets repeated rows, as
    BIRD's evaluation does; the others take floats that agree in nine digits for equal."""
    if comparison == "set":
        return set(expected.rows) == set(found.rows) and expected.tables == found.tables
    if expected.tables.keys() != found.tables.keys():
        return False
    ordered = comparison == "ordered"
    pairs = [(expected.rows, found.rows), *((rows, found.tables[name]) for name, rows in expected.tables.items())]
    return all(_same_rows(wanted, given, ordered) for wanted, given in pairs)


def _same_rows(wanted: list[Row], given: list[Row], ordered: bool) -> bool:
    if len(wanted) != len(given):
        return False
    left, right = [_plain(row) for row in wanted], [_plain(row) for row in given]
    return left == right if ordered else Counter(left) == Counter(right)


def _plain(row: Row) -> Row:
    return tuple(float(f"{value:.9g}") if isinstance(value, float) else value for value in row)
