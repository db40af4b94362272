"""Short-answer tasks: copy a word or read it off, turn things around, count and sort."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.items import assistant_message

NAMES = ["Ana", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "June", "Kim", "Leo", "Mia", "Ned"]
WORDS = ["apple", "bridge", "candle", "desert", "engine", "forest", "garden", "hammer", "island", "jungle", "kettle"]
WORDS += ["lemon", "mirror", "needle", "ocean", "pepper", "quartz", "rocket", "saddle", "tunnel", "violin", "window"]
COLORS = ["red", "blue", "green", "yellow", "black", "white", "brown", "grey"]
MODES = {
    "boxed": "Put the answer in \\boxed{}.",
    "final_answer": "End with `Answer: ` and the answer.",
    "last_line": "Write the answer alone on the last line.",
    "full_response": "Write the answer and nothing else.",
}
FORMS = {
    "boxed": "\\boxed{%s}",
    "final_answer": "Answer: %s",
    "last_line": "Here it is.\n%s",
    "full_response": "%s",
}

Question = tuple[str, str]
"""Text and answer."""


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in NeMo Gym's ``string_match`` layout. See :func:`~gym_ray.environments.generate.distinct_rows`."""
    level = Difficulty(difficulty)
    return distinct_rows("string_match", count, seed, level, lambda rng: _row(rng, *rng.choice(LEVELS[level])(rng)))


def solve(row: Row) -> list[Turn]:
    """One turn: the answer where the row wants it."""
    return [[assistant_message(FORMS[row["extraction_mode"]] % row["expected_answer"])]]


def _row(rng: random.Random, question: str, answer: str) -> Row:
    mode = rng.choice(list(MODES))
    return {
        "responses_create_params": prompt_params(f"{question}\n{MODES[mode]}"),
        "expected_answer": answer,
        "extraction_mode": mode,
        "case_sensitive": False,
    }


def which_color(rng: random.Random) -> Question:
    people, colors = rng.sample(NAMES, 3), rng.sample(COLORS, 3)
    story = " ".join(f"{person}'s hat is {color}." for person, color in zip(people, colors, strict=True))
    chosen = rng.randrange(3)
    return f"{story} Which color is {people[chosen]}'s hat?", colors[chosen]


def nth_word(rng: random.Random) -> Question:
    words, place = rng.sample(WORDS, 4), rng.choice(("first", "last"))
    return f"Which is the {place} of these words: {' '.join(words)}?", words[0 if place == "first" else -1]


def hyphen(rng: random.Random) -> Question:
    first, second = rng.sample(WORDS, 2)
    return f"Join the words {first} and {second} with a hyphen.", f"{first}-{second}"


def reverse(rng: random.Random) -> Question:
    words = rng.sample(WORDS, rng.randint(3, 4))
    return f"Write these words in reverse order: {' '.join(words)}.", " ".join(reversed(words))


def initials(rng: random.Random) -> Question:
    words = rng.sample(WORDS, rng.randint(3, 5))
    return f"Which letters do these words begin with: {' '.join(words)}?", "".join(word[0] for word in words)


def backwards(rng: random.Random) -> Question:
    first, second = rng.sample(WORDS, 2)
    return f"Spell {first} backwards, then write {second}.", f"{first[::-1]} {second}"


def alphabet(rng: random.Random) -> Question:
    words = rng.sample(WORDS, rng.randint(4, 6))
    return f"Sort by the alphabet: {' '.join(words)}.", " ".join(sorted(words))


def swaps(rng: random.Random) -> Question:
    people, colors = rng.sample(NAMES, 3), rng.sample(COLORS, 3)
    held = dict(zip(people, colors, strict=True))
    story = [f"{person} has a {color} ball." for person, color in held.items()]
    for _ in range(rng.randint(2, 4)):
        left, right = rng.sample(people, 2)
        held[left], held[right] = held[right], held[left]
        story.append(f"{left} and {right} swap balls.")
    asked = rng.choice(people)
    return f"{' '.join(story)} Which color is {asked}'s ball?", held[asked]


def every_letter(rng: random.Random) -> Question:
    words, position = rng.sample(WORDS, rng.randint(4, 6)), rng.randint(2, 4)
    text = f"Take letter number {position} of each word and join them: {' '.join(words)}."
    return text, "".join(word[position - 1] for word in words)


LEVELS: dict[Difficulty, tuple[Callable[[random.Random], Question], ...]] = {
    Difficulty.EASY: (which_color, nth_word, hyphen),
    Difficulty.MEDIUM: (reverse, initials, backwards),
    Difficulty.HARD: (alphabet, swaps, every_letter),
}
"""Question families of each level."""
