"""Copying drills: random tokens that are seen once and must then be repeated. They make induction heads.

Dense (nearly every token of a repetition counts), short, and without any meaning, so that nothing but copying helps.
"""

from __future__ import annotations

import random

Example = tuple[list[int], list[int]]
"""Token ids, and 1 where the model is to learn them."""


def drill(rng: random.Random, tokens: list[int], marks: tuple[int, int]) -> Example:
    """One drill over ``tokens``. ``marks``: two tokens that stand between keys and values, and between records."""
    return rng.choice((repetition, lookup))(rng, tokens, marks)


def repetition(rng: random.Random, tokens: list[int], marks: tuple[int, int]) -> Example:
    """A run said again and again, without a pause."""
    run = rng.choices(tokens, k=rng.randint(3, 25))
    times = max(2, 60 // len(run))
    return run * times, [0] * (len(run) + 1) + [1] * (len(run) * (times - 1) - 1)


def lookup(rng: random.Random, tokens: list[int], marks: tuple[int, int]) -> Example:
    """Records of a key and one to four tokens of value, then some of them again in another order."""
    many = rng.randint(2, 8)
    records = [(key, rng.choices(tokens, k=rng.randint(1, 4))) for key in rng.sample(tokens, many)]
    ids, learnt = [], []
    for asked, (key, value) in [(0, r) for r in records] + [(1, rng.choice(records)) for _ in range(many)]:
        ids += [key, marks[0], *value, marks[1]]
        learnt += [0, 0] + [asked] * (len(value) + 1)
    return ids, learnt
