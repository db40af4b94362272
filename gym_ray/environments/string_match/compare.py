r"""Are two short answers the same? The rules are those of NeMo Gym's ``string_match`` (which took them from NeMo-RL).

Both answers are put into the same form and compared, for one form after the other: as they are, as a number, without
thousands separators, without LaTeX wrappers, as a list, with states of the USA abbreviated, without units. Numbers
that differ by less than about 1% are almost right. All forms take time linear in the answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

ALMOST = 0.98
"""Reward of a number that is near, but not equal in writing; also the least closeness that counts as near."""

_WRAPPERS = "boxed text textbf textit texttt mathrm mathbf mathit mathsf mathbb mathcal emph url"
_WRAPPER_OR_BRACE = re.compile(rf"\\(?:{'|'.join(_WRAPPERS.split())})\{{|[{{}}]")
_MATH_BORDERS = re.compile(r"\\[()\[\]]|\$")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d)")
_JOINERS = re.compile(r"[,;]|\b(?:and|or)\b")
_UNITS = re.compile(r"\^?\{?\\circ\}?|°|(?<=\d)\s*(?:mm|cm|km|kg|m)(?:\^?[23])?(?![a-z])")
_NUMBER_NOISE = re.compile(r"\\?[$%]|[£€,]")
_STATES = {
    "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV": (
        "alabama|alaska|arizona|arkansas|california|colorado|connecticut|delaware|district of columbia|florida|georgia|"
        "hawaii|idaho|illinois|indiana|iowa|kansas|kentucky|louisiana|maine|maryland|massachusetts|michigan|minnesota|"
        "mississippi|missouri|montana|nebraska|nevada"
    ),
    "NH NJ NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY": (
        "new hampshire|new jersey|new mexico|new york|north carolina|north dakota|ohio|oklahoma|oregon|pennsylvania|"
        "rhode island|south carolina|south dakota|tennessee|texas|utah|vermont|virginia|washington|west virginia|"
        "wisconsin|wyoming"
    ),
}
STATES = {
    name: code.lower()
    for codes, names in _STATES.items()
    for code, name in zip(codes.split(), names.split("|"), strict=True)
}
"""Postal codes by name, in lower case."""
_STATE = re.compile(rf"\b(?:{'|'.join(sorted(STATES, key=len, reverse=True))})\b")


def agreement(expected: str, given: str) -> float:
    """1.0 when the answers are the same, 0.98 when they are nearly the same number, else 0.0."""
    left, right = _plain(expected), _plain(given)
    if any(form(left) == form(right) for form in FORMS):
        return 1.0
    if _closeness(left, right) > ALMOST:
        return ALMOST
    left, right = _without_units(left), _without_units(right)
    return 1.0 if left == right else ALMOST if _closeness(left, right) > ALMOST else 0.0


def _plain(text: str) -> str:
    """Compatibility forms folded, quotes around it and final punctuation taken off, lower case."""
    text = unicodedata.normalize("NFKC", text)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    text = text.lower()
    return text.rstrip(".!?") or text


def _number(text: str) -> str:
    try:
        return str(float(re.sub(r"\\[%$]|\$", "", text)))
    except ValueError:
        return text


def _without_thousands(text: str) -> str:
    return _THOUSANDS.sub("", text).replace("\\%", "%")


def _without_latex(text: str) -> str:
    r"""``\text{...}`` and the like give way to what they hold; other braces stay."""
    kept: list[str] = []
    wrapped: list[bool] = []
    last = 0
    for token in _WRAPPER_OR_BRACE.finditer(text):
        kept.append(text[last : token.start()])
        last = token.end()
        brace = token.group()
        if brace == "}":
            drop = wrapped.pop() if wrapped else False
        else:
            drop = brace != "{"
            wrapped.append(drop)
        if not drop:
            kept.append(brace)
    kept.append(text[last:])
    return " ".join(_MATH_BORDERS.sub("", "".join(kept)).split())


def _as_list(text: str) -> str:
    """Separators and joining words become spaces, unless that takes away much of a short text."""
    spaced = _JOINERS.sub(" ", text)
    return text if len(spaced) < 0.9 * len(text) else " ".join(spaced.split())


def _with_states(text: str) -> str:
    return _as_list(_STATE.sub(lambda match: STATES[match.group()], text))


FORMS: tuple[Callable[[str], str], ...] = (str, _number, _without_thousands, _without_latex, _as_list, _with_states)
"""Ways to write an answer in which the same answers look the same."""


def _without_units(text: str) -> str:
    return _UNITS.sub("", _without_latex(text)).strip()


def _closeness(expected: str, given: str) -> float:
    """``(1 - relative error)²`` of two numbers, 0.0 when one is none."""
    try:
        wanted, found = (float(_UNITS.sub("", _NUMBER_NOISE.sub("", text))) for text in (expected, given))
    except ValueError:
        return 0.0
    error = abs(found - wanted) / max(abs(wanted), 1e-9)
    return float(max(0.0, 1.0 - error) ** 2)
