"""Wordle games: about six hundred everyday words (easy, medium), or any word of the list (hard)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.environments.wordle.words import all_words, everyday_words, feedback
from gym_ray.types.items import function_call

RULES = (
    "You play Wordle: find a secret five-letter word in {turns} guesses. Each guess is answered per letter: G right "
    "place, Y elsewhere in the word, _ not in the word. Guess with the tool submit_guess, one guess per turn."
)
OPENING = "stare"
"""What :func:`solve` begins with."""


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in NeMo Gym's ``wordle`` layout, each with another word; all have the same prompt.

    ``easy`` gives ten guesses, the others six.
    """
    level = Difficulty(difficulty)
    words = sorted(all_words()) if level is Difficulty.HARD else everyday_words()
    turns = 10 if level is Difficulty.EASY else 6
    return distinct_rows(
        "wordle", count, seed, level, lambda rng: _row(rng, words, turns), lambda row: str(row["custom_target"])
    )


def solve(row: Row) -> list[Turn]:
    """Guesses that fit all answers so far; the last guess is the word in any case."""
    target = row["custom_target"]
    candidates = everyday_words() if target in everyday_words() else sorted(all_words())
    guesses = [OPENING]
    while guesses[-1] != target and len(guesses) < row["max_turns"]:
        signs = feedback(guesses[-1], target)
        candidates = [word for word in candidates if feedback(guesses[-1], word) == signs]
        guesses.append(candidates[0] if len(guesses) < row["max_turns"] - 1 else target)
    return [
        [function_call("submit_guess", json.dumps({"guess": guess}), f"call_{turn}")]
        for turn, guess in enumerate(guesses)
    ]


def _row(rng: random.Random, words: list[str], turns: int) -> Row:
    return {
        "responses_create_params": prompt_params("Make your first guess.", RULES.format(turns=turns)),
        "word_length": 5,
        "max_turns": turns,
        "custom_target": rng.choice(words),
    }
