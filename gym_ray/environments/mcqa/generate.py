"""Multiple-choice tasks: arithmetic, comparison and look-up, four to ten options."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.items import assistant_message

NAMES = ["Ana", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "June", "Kim", "Leo", "Mia", "Ned"]
THINGS = ["pens", "cups", "keys", "books", "coins", "eggs", "stones", "stamps", "apples", "bells"]
WORDS = ["apple", "banana", "candle", "dragon", "engine", "forest", "garden", "hammer", "island", "jacket", "kettle"]
WORDS += ["ladder", "mirror", "needle", "orange", "pepper", "quartz", "rocket", "saddle", "tunnel", "violin", "window"]
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

Question = tuple[str, str, list[str]]
"""Text, the right option, and wrong options (at least as many as the level shows)."""


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in NeMo Gym's ``mcqa`` layout. See :func:`~gym_ray.environments.generate.distinct_rows`."""
    families, shown = LEVELS[Difficulty(difficulty)]
    return distinct_rows("mcqa", count, seed, difficulty, lambda rng: _row(rng, rng.choice(families), shown))


def solve(row: Row) -> list[Turn]:
    """One turn: the right option's text, then its letter in a box."""
    letter = row["expected_answer"]
    text = next(option[letter] for option in row["options"] if letter in option)
    return [[assistant_message(f"It is {text}. \\boxed{{{letter}}}")]]


def _row(rng: random.Random, family: Callable[[random.Random], Question], shown: int) -> Row:
    question, right, wrong = family(rng)
    texts = [right, *rng.sample(wrong, shown - 1)]
    rng.shuffle(texts)
    options = [{chr(ord("A") + position): text} for position, text in enumerate(texts)]
    listing = "\n".join(f"{letter}: {text}" for option in options for letter, text in option.items())
    return {
        "responses_create_params": prompt_params(f"{question}\n{listing}\nPut the letter in \\boxed{{}}."),
        "options": options,
        "expected_answer": chr(ord("A") + texts.index(right)),
        "grading_mode": "strict_single_letter_boxed",
    }


def _near(rng: random.Random, right: int, many: int = 9) -> list[str]:
    """Wrong numbers close to the right one, none negative."""
    pool = [right + step for step in range(-12, 13) if step and right + step >= 0]
    return [str(number) for number in rng.sample(pool, many)]


def extreme(rng: random.Random) -> Question:
    numbers, biggest = rng.sample(range(100), 4), rng.random() < 0.5
    right = max(numbers) if biggest else min(numbers)
    wrong = [str(number) for number in numbers if number != right]
    return f"Which number is the {'largest' if biggest else 'smallest'}?", str(right), wrong


def small_sum(rng: random.Random) -> Question:
    left, right = rng.randint(0, 9), rng.randint(0, 9)
    return f"What is {left} + {right}?", str(left + right), _near(rng, left + right)


def first_letter(rng: random.Random) -> Question:
    right, *wrong = rng.sample(WORDS, 10)
    return f"Which word begins with {right[0]}?", right, wrong


def parity(rng: random.Random) -> Question:
    odd = rng.random() < 0.5
    right = rng.randrange(50) * 2 + odd
    wrong = [number for number in range(100) if number % 2 != odd]
    return f"Which number is {'odd' if odd else 'even'}?", str(right), [str(n) for n in rng.sample(wrong, 9)]


def who_has(rng: random.Random) -> Question:
    story, people, counts, _ = _story(rng, 4)
    chosen = rng.randrange(4)
    return f"{story} Who has {counts[chosen]}?", people[chosen], [name for name in people if name != people[chosen]]


def product(rng: random.Random) -> Question:
    left, right = rng.randint(2, 12), rng.randint(2, 12)
    return f"What is {left} * {right}?", str(left * right), _near(rng, left * right)


def big_sum(rng: random.Random) -> Question:
    left, right = rng.randint(10, 99), rng.randint(10, 99)
    if rng.random() < 0.5:
        return f"What is {left} + {right}?", str(left + right), _near(rng, left + right)
    left, right = max(left, right), min(left, right)
    return f"What is {left} - {right}?", str(left - right), _near(rng, left - right)


def sequence(rng: random.Random) -> Question:
    start, step = rng.randint(1, 40), rng.randint(2, 12)
    terms = ", ".join(str(start + step * index) for index in range(4))
    return f"What comes next? {terms}, ...", str(start + step * 4), _near(rng, start + step * 4)


def who_has_most(rng: random.Random) -> Question:
    story, people, counts, _ = _story(rng, 4)
    fewest = rng.random() < 0.5
    right = people[counts.index(min(counts) if fewest else max(counts))]
    return f"{story} Who has the {'fewest' if fewest else 'most'}?", right, [name for name in people if name != right]


def _story(rng: random.Random, many: int) -> tuple[str, list[str], list[int], str]:
    """Sentences, the people, what each has, and of which thing."""
    people, counts, thing = rng.sample(NAMES, many), rng.sample(range(2, 60), many), rng.choice(THINGS)
    text = " ".join(f"{person} has {count} {thing}." for person, count in zip(people, counts, strict=True))
    return text, people, counts, thing


def two_steps(rng: random.Random) -> Question:
    left, right, third = rng.randint(3, 19), rng.randint(3, 12), rng.randint(1, 30)
    return f"What is {left} * {right} + {third}?", str(left * right + third), _near(rng, left * right + third)


def remainder(rng: random.Random) -> Question:
    number, divisor = rng.randint(50, 499), rng.randint(10, 24)
    right = number % divisor
    wrong = [str(other) for other in range(divisor) if other != right]
    return f"What is the remainder of {number} divided by {divisor}?", str(right), rng.sample(wrong, 9)


def handover(rng: random.Random) -> Question:
    story, people, counts, thing = _story(rng, 3)
    given = rng.randint(2, 9)
    right = counts[1] + given
    question = f"{story} {people[0]} gives {given} {thing} to {people[1]}. How many {thing} has {people[1]} now?"
    return question, str(right), _near(rng, right)


def weekday(rng: random.Random) -> Question:
    today, later = rng.randrange(7), rng.randint(8, 99)
    right = DAYS[(today + later) % 7]
    wrong = [day for day in DAYS if day != right] + ["No day", "Every day", "It depends"]
    return f"Today is {DAYS[today]}. Which day is it in {later} days?", right, wrong


LEVELS: dict[Difficulty, tuple[tuple[Callable[[random.Random], Question], ...], int]] = {
    Difficulty.EASY: ((extreme, small_sum, first_letter, parity, who_has), 4),
    Difficulty.MEDIUM: ((product, big_sum, sequence, who_has_most, who_has), 4),
    Difficulty.HARD: ((two_steps, remainder, handover, weekday), 10),
}
"""Question families of each level, and how many options it shows."""
