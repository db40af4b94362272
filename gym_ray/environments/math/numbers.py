r"""Written-out numbers, read exactly.

A symbolic comparison takes ``7+8`` for 15 and ``420/20`` for 21, so a policy asked to compute could box the
question. Where the answer is a number, asking for a *finished* one closes that door.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import gcd

_NUMBER = re.compile(
    r"(?:[A-Za-z]\s*=\s*)?(?P<sign>[+-]?)\s*(?:"
    r"(?P<decimal>(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"|\\[dt]?frac\s*\{\s*(?P<top>[0-9]+)\s*\}\s*\{\s*(?P<bottom>[0-9]+)\s*\}"
    r"|(?P<left>[0-9]+)\s*/\s*(?P<right>[0-9]+))"
)


def read_number(text: str) -> Fraction | None:
    r"""``12``, ``-3.50``, ``1,000``, ``3/4``, ``\frac{3}{4}``, each also after ``x =``; else None.

    A fraction counts in lowest terms only, with a denominator above 1: anything else is an unfinished division.
    """
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    sign = -1 if match["sign"] == "-" else 1
    if match["decimal"]:
        return sign * Fraction(match["decimal"].replace(",", ""))
    top, bottom = int(match["top"] or match["left"]), int(match["bottom"] or match["right"])
    return sign * Fraction(top, bottom) if bottom > 1 and gcd(top, bottom) == 1 else None
