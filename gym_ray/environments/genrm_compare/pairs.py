"""Pairwise comparisons of a group, and the scores that they add up to. Pure functions.

The arithmetic is that of NeMo Gym's ``genrm_compare`` (``simple_tiebreaker``): a rollout's score is the mean of what
its comparisons gave it; equal scores are moved apart by the ranking; bonuses and penalties for length and style are
relative to the group. A rollout all of whose comparisons failed has no score, and takes no part in the rest.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MIDDLE = 3.5
"""A ranking goes from 1 (the first answer is far better) to 6 (the second is)."""
_CODE = re.compile(r"```.*?```", re.DOTALL)
_STYLE = re.compile(
    r"^#{1,6}\s|^\s*\d+\.\s|^\s*[-*+]\s|\*\*[^*\n]+\*\*|__[^_\n]+__"
    r"|[\U0001f300-\U0001faff\U0001f1e6-\U0001f1ff\u2600-\u27bf]",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the judge said of answers ``first`` and ``second`` (positions in the group): scores 1 to 5, ranking."""

    first: int
    second: int
    score_1: float
    score_2: float
    ranking: float


@dataclass(frozen=True, slots=True)
class Adjustments:
    """Options of the same names: see the card."""

    reasoning_bonus: float = 0.0
    answer_bonus: float = 0.0
    top_percentile: float = 0.2
    group_reasoning_length_penalty_coeff: float = 0.0
    group_answer_length_penalty_coeff: float = 0.0
    group_style_penalty_coeff: float = 0.0


def pairs(strategy: Literal["circular", "all_pairs"], count: int) -> list[tuple[int, int]]:
    """Who is compared with whom: each with the next one (the last with the first), or all with all."""
    if strategy == "all_pairs":
        return list(itertools.combinations(range(count), 2))
    return [(number, (number + 1) % count) for number in range(count)]


def read_scores(text: str, default_score: float, default_ranking: float) -> tuple[float, float, float] | None:
    """``score_1``, ``score_2``, ``ranking`` of the last JSON object in ``text`` that has any of them.

    One that is missing gets its default. An object may hold them under ``overall``. None: there is no such object.
    """
    decoder, found, at = json.JSONDecoder(), None, text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            end = at + 1
        else:
            found = _scores(value, default_score, default_ranking) or found
        at = text.find("{", end)
    return found


def _scores(value: object, default_score: float, default_ranking: float) -> tuple[float, float, float] | None:
    if isinstance(value, dict) and isinstance(value.get("overall"), dict):
        value = value["overall"]
    if not isinstance(value, dict) or not value.keys() & {"score_1", "score_2", "ranking"}:
        return None
    try:
        first, second = float(value.get("score_1", default_score)), float(value.get("score_2", default_score))
        ranking = float(value.get("ranking", default_ranking))
    except (TypeError, ValueError):
        return None
    return (first, second, ranking) if all(map(math.isfinite, (first, second, ranking))) else None


def base_scores(count: int, comparisons: Sequence[Comparison]) -> list[float | None]:
    """Mean of each rollout's scores, ties broken; None for one that no comparison judged."""
    given: list[list[float]] = [[] for _ in range(count)]
    for one in comparisons:
        tie = MIDDLE - one.ranking if one.score_1 == one.score_2 else 0.0
        given[one.first].append(one.score_1 + tie)
        given[one.second].append(one.score_2 - tie)
    return [sum(scores) / len(scores) if scores else None for scores in given]


def adjustments(
    scores: Sequence[float], reasoning: Sequence[str], answers: Sequence[str], terms: Adjustments
) -> tuple[list[float], list[float]]:
    """What length, and what style, adds to each of ``scores`` (two lists)."""
    if len(scores) < 2:
        return [0.0] * len(scores), [0.0] * len(scores)
    thought, said = [len(text.strip()) for text in reasoning], [len(text.strip()) for text in answers]
    top = sorted(scores, reverse=True)[max(0, int(len(scores) * terms.top_percentile) - 1)]
    length = [0.0] * len(scores)
    for lengths, bonus in ((thought, terms.reasoning_bonus), (said, terms.answer_bonus)):
        shortest = min((at for at, size in enumerate(lengths) if size), key=lengths.__getitem__, default=None)
        # As there, a first bonus already counts when it is decided who is at the top for the second.
        if bonus > 0 and shortest is not None and scores[shortest] + length[shortest] >= top:
            length[shortest] += bonus
    coefficients = terms.group_reasoning_length_penalty_coeff, terms.group_answer_length_penalty_coeff
    for weights, coefficient in zip((less_is_more(thought), less_is_more(said)), coefficients, strict=True):
        length = [one + weight * coefficient for one, weight in zip(length, weights, strict=True)]
    densities = less_is_more([style_density(answer) for answer in answers])
    return length, [weight * terms.group_style_penalty_coeff for weight in densities]


def less_is_more(amounts: Sequence[float]) -> list[float]:
    """Weights from least (highest) to most (lowest), one apart, with a mean of zero; all zero when all are equal."""
    least, most = min(amounts), max(amounts)
    if least == most:
        return [0.0] * len(amounts)
    raw = [1.0 - (amount - least) / (most - least) for amount in amounts]
    return [one - sum(raw) / len(raw) for one in raw]


def style_density(text: str) -> float:
    """Headers, list items, bold passages and emoji per character, code blocks left out."""
    bare = _CODE.sub("", text)
    length = len(bare.strip())
    return len(_STYLE.findall(bare)) / length if length else 0.0
