r"""Mathematics tasks, from sums of single digits to linear systems and modular powers. Answers are exact."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import comb, gcd

from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.environments.math.numbers import read_number
from gym_ray.types.items import assistant_message

Problem = tuple[str, str]
"""Question and answer, the answer as LaTeX."""


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in NeMo Gym's ``math_with_judge`` layout. See :func:`~gym_ray.environments.generate.distinct_rows`."""
    families = LEVELS[Difficulty(difficulty)]
    return distinct_rows("math", count, seed, difficulty, lambda rng: _row(*rng.choice(families)(rng)))


def solve(row: Row) -> list[Turn]:
    """One turn: the expected answer in a box."""
    return [[assistant_message(f"The answer is \\boxed{{{row['expected_answer']}}}.")]]


def _row(question: str, answer: str) -> Row:
    return {
        "responses_create_params": prompt_params(f"{question}\nPut the answer in \\boxed{{}}."),
        "question": question,
        "expected_answer": answer,
        "answer_form": "any" if read_number(answer) is None else "number",
    }


def latex(number: Fraction) -> str:
    r"""``3``, ``-\frac{1}{2}``."""
    if number.denominator == 1:
        return str(number.numerator)
    return f"{'-' if number < 0 else ''}\\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"


def _signed(number: int) -> str:
    return f"+ {number}" if number >= 0 else f"- {-number}"


def addition(rng: random.Random) -> Problem:
    left, right = rng.randint(0, 99), rng.randint(0, 99)
    return f"What is {left} + {right}?", str(left + right)


def subtraction(rng: random.Random) -> Problem:
    left, right = rng.randint(0, 99), rng.randint(0, 99)
    left, right = max(left, right), min(left, right)
    return f"What is {left} - {right}?", str(left - right)


def multiplication(rng: random.Random) -> Problem:
    left, right = rng.sample((rng.randint(2, 9), rng.randint(10, 99)), 2)
    return f"What is {left} * {right}?", str(left * right)


def mixed(rng: random.Random) -> Problem:
    first, second, third = (rng.randint(2, 20) for _ in range(3))
    if rng.random() < 0.5:
        return f"What is {first} + {second} * {third}?", str(first + second * third)
    return f"What is ({first} + {second}) * {third}?", str((first + second) * third)


def division(rng: random.Random) -> Problem:
    divisor, result = rng.randint(2, 20), rng.randint(2, 60)
    return f"What is {divisor * result} / {divisor}?", str(result)


def fractions(rng: random.Random) -> Problem:
    first, second = (Fraction(rng.randint(1, 9), rng.randint(2, 9)) for _ in range(2))
    minus = rng.random() < 0.5
    answer = first - second if minus else first + second
    return f"What is {first} {'-' if minus else '+'} {second}?", latex(answer)


def percentage(rng: random.Random) -> Problem:
    share, whole = rng.choice((5, 10, 20, 25, 40, 50, 75)), rng.randint(2, 60) * 20
    return f"What is {share} percent of {whole}?", str(share * whole // 100)


def linear(rng: random.Random) -> Problem:
    factor, root, shift = rng.randint(2, 12), rng.randint(-15, 15), rng.randint(1, 40)
    return f"Solve {factor}x + {shift} = {factor * root + shift} for x.", str(root)


def common_divisor(rng: random.Random) -> Problem:
    shared = rng.randint(2, 18)
    left, right = shared * rng.randint(2, 15), shared * rng.randint(2, 15)
    return f"What is the greatest common divisor of {left} and {right}?", str(gcd(left, right))


def system(rng: random.Random) -> Problem:
    x, y = rng.randint(-9, 9), rng.randint(-9, 9)
    a, b, c, d = (rng.randint(1, 9) for _ in range(4))
    if a * d == b * c:
        d += 1 if a * (d + 1) != b * c else 2
    equations = f"{a}x + {b}y = {a * x + b * y} and {c}x + {d}y = {c * x + d * y}"
    return f"Find x + y when {equations}.", str(x + y)


def quadratic(rng: random.Random) -> Problem:
    first, second = rng.sample(range(-12, 13), 2)
    middle, last = -(first + second), first * second
    return f"What is the larger root of x^2 {_signed(middle)}x {_signed(last)} = 0?", str(max(first, second))


def both_roots(rng: random.Random) -> Problem:
    first, second = sorted(rng.sample(range(-12, 13), 2))
    middle, last = -(first + second), first * second
    question = f"Which values of x satisfy x^2 {_signed(middle)}x {_signed(last)} = 0? Separate them by a comma."
    return question, f"{first}, {second}"


def modular_power(rng: random.Random) -> Problem:
    base, exponent, modulus = rng.randint(2, 20), rng.randint(5, 60), rng.randint(7, 50)
    return f"What is the remainder of {base}^{exponent} divided by {modulus}?", str(pow(base, exponent, modulus))


def series(rng: random.Random) -> Problem:
    start, step, terms = rng.randint(1, 20), rng.randint(2, 9), rng.randint(8, 40)
    answer = terms * (2 * start + (terms - 1) * step) // 2
    return f"What is the sum of the first {terms} terms of {start}, {start + step}, {start + 2 * step}, ...?", str(
        answer
    )


def slope(rng: random.Random) -> Problem:
    cubic, square, at = rng.randint(1, 6), rng.randint(-9, 9), rng.randint(-5, 5)
    answer = 3 * cubic * at**2 + 2 * square * at
    return f"What is the derivative of {cubic}x^3 {_signed(square)}x^2 at x = {at}?", str(answer)


def chance(rng: random.Random) -> Problem:
    red, blue = rng.randint(2, 12), rng.randint(2, 12)
    answer = Fraction(comb(red, 2), comb(red + blue, 2))
    question = f"A bag holds {red} red and {blue} blue balls. Two are drawn. What is the probability that both are red?"
    return question, latex(answer)


LEVELS: dict[Difficulty, tuple[Callable[[random.Random], Problem], ...]] = {
    Difficulty.EASY: (addition, subtraction, multiplication),
    Difficulty.MEDIUM: (mixed, division, fractions, percentage, linear, common_divisor),
    Difficulty.HARD: (system, quadratic, both_roots, modular_power, series, slope, chance),
}
"""Question families of each level."""
