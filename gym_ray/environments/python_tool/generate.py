"""Questions that are a chore by hand and a line of Python: long products, sums over ranges, counts by search."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.items import assistant_message, function_call

FORMAT = "Use Python to compute it, then put the answer in \\boxed{}."
Problem = tuple[str, str]
"""Question, and an expression whose value is the answer."""


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in NeMo Gym's ``ns_tools`` layout. See :func:`~gym_ray.environments.generate.distinct_rows`."""
    families = LEVELS[Difficulty(difficulty)]
    return distinct_rows("python_tool", count, seed, difficulty, lambda rng: _row(*rng.choice(families)(rng)))


def solve(row: Row) -> list[Turn]:
    """Two turns: a call that computes the answer, and the answer."""
    call = function_call("stateful_python_code_exec", json.dumps({"code": row["expert_code"]}), "call_0")
    return [[call], [assistant_message(f"The answer is \\boxed{{{row['expected_answer']}}}.")]]


def _row(question: str, expression: str) -> Row:
    return {
        "responses_create_params": prompt_params(f"{question}\n{FORMAT}"),
        "question": question,
        "expected_answer": str(eval(expression)),
        "answer_form": "number",
        "verifier_type": "math_with_judge",
        "expert_code": expression,
    }


def product(rng: random.Random) -> Problem:
    left, right = rng.randint(100, 9999), rng.randint(100, 9999)
    return f"What is {left} * {right}?", f"{left} * {right}"


def power(rng: random.Random) -> Problem:
    base, exponent, modulus = rng.randint(2, 999), rng.randint(20, 999), rng.randint(100, 9999)
    question = f"What is the remainder of {base}^{exponent} divided by {modulus}?"
    return question, f"pow({base}, {exponent}, {modulus})"


def range_sum(rng: random.Random) -> Problem:
    last, divisor = rng.randint(200, 3000), rng.randint(3, 20)
    rest = rng.randrange(divisor)
    question = f"What is the sum of the squares of the integers from 1 to {last} that are {rest} modulo {divisor}?"
    return question, f"sum(n * n for n in range(1, {last} + 1) if n % {divisor} == {rest})"


def digit_count(rng: random.Random) -> Problem:
    last, total = rng.randint(300, 9999), rng.randint(5, 20)
    question = f"How many integers from 1 to {last} have digits that sum to {total}?"
    return question, f"sum(sum(map(int, str(n))) == {total} for n in range(1, {last} + 1))"


def primes(rng: random.Random) -> Problem:
    first, span = rng.randint(100, 20_000), rng.randint(200, 2000)
    question = f"How many primes are there from {first} to {first + span}?"
    test = "all(n % d for d in range(2, int(n ** 0.5) + 1))"
    return question, f"sum({test} for n in range({first}, {first + span} + 1))"


def representations(rng: random.Random) -> Problem:
    a, b, total = rng.randint(2, 9), rng.randint(2, 9), rng.randint(500, 5000)
    question = f"How many pairs of non-negative integers (x, y) satisfy {a}x^2 + {b}y <= {total}?"
    return (
        question,
        f"sum(1 for x in range({total}) if {a} * x * x <= {total} for y in range(({total} - {a} * x * x) // {b} + 1))",
    )


LEVELS: dict[Difficulty, tuple[Callable[[random.Random], Problem], ...]] = {
    Difficulty.EASY: (product,),
    Difficulty.MEDIUM: (power, range_sum),
    Difficulty.HARD: (digit_count, primes, representations),
}
"""Question families of each level."""
