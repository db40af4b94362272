"""Hands of blackjack: sure to be won in one decision (easy), sure to be won (medium), as the cards fall (hard)."""

from __future__ import annotations

import random
from collections.abc import Iterator

from gym_ray.environments.blackjack.cards import Hand
from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.items import assistant_message

RULES = (
    "You play one hand of blackjack: come closer to 21 than the dealer without going over it. Pictures count 10, "
    "an ace 11 or 1. The dealer draws up to 17. Each time, answer with <action>hit</action> for one more card or "
    "<action>stand</action> to stop."
)

MOST_HITS = 21
"""More cards always go over 21."""


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows that name their cards by ``seed``; all have the same prompt, the cards come with the reset.

    On ``hard`` hands come up as often as the game deals them, so even the best play loses some.
    """
    level = Difficulty(difficulty)
    return distinct_rows("blackjack", count, seed, level, lambda rng: _row(rng, level), lambda row: str(row["seed"]))


def solve(row: Row) -> list[Turn]:
    """The turns of the best play, by one who knows all cards to come."""
    _, hits = best_play(row["seed"])
    return [[assistant_message(f"<action>{action}</action>")] for action in ["hit"] * hits + ["stand"]]


def best_play(seed: int) -> tuple[float, int]:
    """The best reward that this hand allows, and after how many hits to stand for it (the fewest)."""
    best, most = -2.0, 0
    for hits in range(MOST_HITS):
        hand = Hand.deal(seed)
        if any(hand.hit() < 0 for _ in range(hits)):
            break
        reward = hand.stand()
        if reward > best:
            best, most = reward, hits
    return best, most


def _row(rng: random.Random, level: Difficulty) -> Row:
    while True:
        seed = rng.randrange(2**31)
        reward, hits = best_play(seed)
        if level is Difficulty.HARD or (reward > 0 and (hits == 0 or level is Difficulty.MEDIUM)):
            return {"responses_create_params": prompt_params("Deal.", RULES), "seed": seed}
