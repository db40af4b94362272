"""Programming tasks with hidden tests: one-line programs on a number, loops over lists, small algorithms.

Each family is a problem text, a reference function, and inputs to try it on; expected outputs come from running the
reference. Easy and half of medium read standard input, the rest is called as a method of ``Solution``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.items import assistant_message

FORMAT = "Answer with one Python program in a ```python block."
TESTS = 8


@dataclass(frozen=True)
class Problem:
    """``text``: what to do. ``source``: a function ``answer`` that does it. ``arguments``: one tuple per test.

    ``reads``: how a program gets the arguments from standard input; None: it is called instead.
    """

    text: str
    source: str
    arguments: list[tuple[Any, ...]]
    reads: str | None = None


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in NeMo Gym's ``code_gen`` layout. See :func:`~gym_ray.environments.generate.distinct_rows`."""
    families = LEVELS[Difficulty(difficulty)]
    return distinct_rows("code_gen", count, seed, difficulty, lambda rng: _row(rng.choice(families)(rng), difficulty))


def solve(row: Row) -> list[Turn]:
    """One turn: the reference solution."""
    return [[assistant_message(f"```python\n{row['reference_solution']}\n```")]]


def _row(problem: Problem, difficulty: str) -> Row:
    scope: dict[str, Any] = {}
    exec(problem.source, scope)
    values = [scope["answer"](*arguments) for arguments in problem.arguments]
    tests: dict[str, Any]
    if problem.reads is None:
        names = problem.source.split("(", 1)[1].split(")", 1)[0]
        text = f"{problem.text}\nWrite a class Solution with a method answer(self, {names}). {FORMAT}"
        inputs = ["\n".join(map(json.dumps, arguments)) for arguments in problem.arguments]
        tests = {"inputs": inputs, "outputs": [json.dumps(value) for value in values], "fn_name": "answer"}
        indented = "\n".join(f"    {line}" for line in problem.source.splitlines())
        solution = "class Solution:\n" + indented.replace("def answer(", "def answer(self, ", 1)
    else:
        text = f"{problem.text} Read standard input, print the result. {FORMAT}"
        inputs = ["\n".join(map(_line, arguments)) + "\n" for arguments in problem.arguments]
        tests = {"inputs": inputs, "outputs": [f"{value}\n" for value in values], "fn_name": None}
        solution = f"{problem.source}\n\nprint(answer({problem.reads}))"
    return {
        "responses_create_params": prompt_params(text),
        "verifier_metadata": {"unit_tests": tests, "difficulty": str(difficulty)},
        "reference_solution": solution,
    }


def _line(argument: Any) -> str:
    return " ".join(map(str, argument)) if isinstance(argument, list) else str(argument)


def _numbers(rng: random.Random, low: int = -20, high: int = 50, most: int = 12) -> list[int]:
    return [rng.randint(low, high) for _ in range(rng.randint(1, most))]


def _words(rng: random.Random) -> list[str]:
    return ["".join(rng.choices("abcdeo", k=rng.randint(1, 8))) for _ in range(rng.randint(1, 8))]


def linear(rng: random.Random) -> Problem:
    factor, shift = rng.randint(2, 30), rng.randint(1, 99)
    inputs = [(rng.randint(-100, 100),) for _ in range(TESTS)]
    source = f"def answer(n):\n    return n * {factor} + {shift}"
    return Problem(f"Given an integer n, compute n times {factor} plus {shift}.", source, inputs, "int(input())")


def remainder(rng: random.Random) -> Problem:
    divisor = rng.randint(2, 300)
    inputs = [(rng.randint(0, 5000),) for _ in range(TESTS)]
    source = f"def answer(n):\n    return n % {divisor}"
    return Problem(f"Given an integer n, compute n modulo {divisor}.", source, inputs, "int(input())")


def threshold(rng: random.Random) -> Problem:
    least = rng.randint(-100, 300)
    inputs = [(least + step,) for step in (-50, -2, -1, 0, 1, 2, 50, 99)]
    source = f"def answer(n):\n    return 'YES' if n >= {least} else 'NO'"
    return Problem(f"Given an integer n, is it at least {least}? Print YES or NO.", source, inputs, "int(input())")


def multiples(rng: random.Random) -> Problem:
    divisor, what = rng.randint(2, 25), rng.choice(("sum", "count"))
    rest = rng.randrange(divisor)
    inputs = [(_numbers(rng, 0, 6 * divisor),) for _ in range(TESTS)]
    value = "n" if what == "sum" else "1"
    text = f"Given integers on one line, find the {what} of those that are {rest} modulo {divisor}."
    source = f"def answer(numbers):\n    return sum({value} for n in numbers if n % {divisor} == {rest})"
    return Problem(text, source, inputs, "list(map(int, input().split()))")


def long_words(rng: random.Random) -> Problem:
    least, letter = rng.randint(1, 7), rng.choice("abcdeo")
    how, test = rng.choice((("contain", "in"), ("begin with", "startswith"), ("end with", "endswith")))
    inputs = [(_words(rng),) for _ in range(TESTS)]
    text = f"Given words on one line, count those with at least {least} letters that {how} the letter {letter}."
    fits = f"'{letter}' in word" if test == "in" else f"word.{test}('{letter}')"
    source = f"def answer(words):\n    return sum(len(word) >= {least} and {fits} for word in words)"
    return Problem(text, source, inputs, "input().split()")


def clamp(rng: random.Random) -> Problem:
    low, high = rng.randint(-20, 15), rng.randint(16, 60)
    inputs = [(_numbers(rng, -40, 80),) for _ in range(TESTS)]
    text = (
        f"Given a list of integers, raise those below {low} to it, lower those above {high} to it, and return the sum."
    )
    source = f"def answer(numbers):\n    return sum(min(max(n, {low}), {high}) for n in numbers)"
    return Problem(text, source, inputs)


def rotate(rng: random.Random) -> Problem:
    steps = rng.randint(1, 60)
    inputs = [(_numbers(rng),) for _ in range(TESTS)]
    text = f"Given a non-empty list of integers, return it rotated to the left by {steps} places (modulo its length)."
    source = f"def answer(numbers):\n    steps = {steps} % len(numbers)\n    return numbers[steps:] + numbers[:steps]"
    return Problem(text, source, inputs)


def window(rng: random.Random) -> Problem:
    size, extreme = rng.randint(2, 40), rng.choice(("max", "min"))
    inputs = [(_numbers(rng, most=20),) for _ in range(TESTS)]
    word = "largest" if extreme == "max" else "smallest"
    text = f"Given a list of integers, return the {word} sum of up to {size} neighbouring elements (at least one)."
    source = (
        "def answer(numbers):\n"
        f"    spans = ((i, j) for i in range(len(numbers)) for j in range(i + 1, min(i + {size}, len(numbers)) + 1))\n"
        f"    return {extreme}(sum(numbers[i:j]) for i, j in spans)"
    )
    return Problem(text, source, inputs)


def coins(rng: random.Random) -> Problem:
    values = sorted(rng.sample(range(2, 15), 3))
    inputs = [(rng.randint(0, 80),) for _ in range(TESTS)]
    three = f"{values[0]}, {values[1]} and {values[2]}"
    text = f"In how many ways can an amount be paid with coins of {three}, order not counting?"
    source = (
        "def answer(amount):\n"
        "    ways = [1] + [0] * amount\n"
        f"    for coin in {values}:\n"
        "        for total in range(coin, amount + 1):\n"
        "            ways[total] += ways[total - coin]\n"
        "    return ways[amount]"
    )
    return Problem(text, source, inputs)


def pairs(rng: random.Random) -> Problem:
    divisor = rng.randint(3, 30)
    rest = rng.randrange(divisor)
    inputs = [(_numbers(rng, 0, 99, 25),) for _ in range(TESTS)]
    text = f"Given a list of integers, count the pairs of places i < j whose sum modulo {divisor} is {rest}."
    source = (
        "def answer(numbers):\n"
        "    seen, found = {}, 0\n"
        "    for number in numbers:\n"
        f"        found += seen.get(({rest} - number) % {divisor}, 0)\n"
        f"        seen[number % {divisor}] = seen.get(number % {divisor}, 0) + 1\n"
        "    return found"
    )
    return Problem(text, source, inputs)


def runs(rng: random.Random) -> Problem:
    most = rng.randint(5, 400)
    inputs = [(_numbers(rng, 0, 60, 25),) for _ in range(TESTS)]
    text = f"Given non-negative integers, return the length of the longest run of neighbours with sum at most {most}."
    source = (
        "def answer(numbers):\n"
        "    start = total = best = 0\n"
        "    for end, number in enumerate(numbers):\n"
        "        total += number\n"
        f"        while total > {most}:\n"
        "            total -= numbers[start]\n"
        "            start += 1\n"
        "        best = max(best, end - start + 1)\n"
        "    return best"
    )
    return Problem(text, source, inputs)


LEVELS: dict[Difficulty, tuple[Callable[[random.Random], Problem], ...]] = {
    Difficulty.EASY: (linear, remainder, threshold),
    Difficulty.MEDIUM: (multiples, long_words, clamp, rotate),
    Difficulty.HARD: (window, coins, pairs, runs),
}
"""Problem families of each level."""
