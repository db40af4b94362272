"""Mathematics: finished numbers, symbolic equality, hostile answers, rows."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gym_ray.environments.math import Math
from gym_ray.environments.math.equality import UnreadableAnswer, bare, equal, equal_in_text
from gym_ray.environments.math.generate import latex
from gym_ray.environments.math.numbers import read_number
from gym_ray.types.items import assistant_message
from gym_ray.types.trajectory import Trajectory


def task(expected: Any, **fields: Any) -> Any:
    row = {"responses_create_params": {"input": "?"}, "expected_answer": expected} | fields
    return Math.Task.model_validate(row)


def answer(text: str) -> Trajectory:
    return Trajectory.of_items([assistant_message(text)])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", Fraction(12)),
        (" -3.50 ", Fraction(-7, 2)),
        ("+1,234,567.25", Fraction(4938269, 4)),
        (".5", Fraction(1, 2)),
        ("x = 4", Fraction(4)),
        ("3/4", Fraction(3, 4)),
        (r"-\frac{3}{4}", Fraction(-3, 4)),
        (r"\dfrac { 3 } { 4 }", Fraction(3, 4)),
        ("6/8", None),
        ("4/1", None),
        ("4/0", None),
        ("7+8", None),
        ("7-8", None),
        ("2^3", None),
        ("12,34", None),
        ("٤٢", None),
        ("nan", None),
        ("1e3", None),
        ("", None),
    ],
)
def test_read_number(text: str, number: Fraction | None) -> None:
    assert read_number(text) == number


@given(st.fractions())
def test_numbers_survive_their_latex(number: Fraction) -> None:
    assert read_number(latex(number)) == number


@pytest.mark.parametrize(
    ("expected", "given_answer", "same"),
    [
        ("42", "042", True),
        ("42", "42.0", True),
        ("$42$", "42", True),
        (r"\(\frac{1}{2}\)", "0.5", True),
        (r"\frac{1}{3}", "0.333333", True),
        (r"\frac{1}{3}", "0.33", False),
        ("x+1", "1+x", True),
        ("x+1", "1-x", False),
        (r"\{1, 2\}", "2, 1", True),
        ("(1, 2)", "(2, 1)", False),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        (r"\text{yes}", r"\text{yes}", True),
        ("5", r"5\text{ cm}", True),
        ("1000", "1,000", True),
        ("5", "", False),
        ("5", "}", False),
        ("5", "{", False),
        ("5", r"\infty", False),
    ],
)
def test_equal(expected: str, given_answer: str, same: bool) -> None:
    assert equal(expected, given_answer) is same


@settings(max_examples=40, deadline=None)
@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_the_short_cut_for_integers_agrees_with_the_library(left: int, right: int) -> None:
    assert equal(str(left), str(right)) is (left == right)
    assert equal(f"{left}.0", str(right)) is (left == right)


def test_bare() -> None:
    assert [bare(text) for text in ("$x$", "$$x$$", r"\(x\)", r" \[ x \] ", "$", "x$", "$$")] == [
        "x",
        "x",
        "x",
        "x",
        "$",
        "x$",
        "$$",
    ]


def test_an_unreadable_expected_answer_is_no_verdict() -> None:
    with pytest.raises(UnreadableAnswer):
        equal("}", "1")
    assert equal("}", "}")


@pytest.mark.parametrize(
    "hostile",
    [r"9^{9^{9^{9}}}", r"\binom{100000000}{50000000}", "(" * 900, "{" * 900 + "}" * 900, "7" * 990, r"\frac" * 150],
)
def test_hostile_answers_end_soon(hostile: str) -> None:
    began = time.monotonic()
    assert not equal("8", hostile)
    assert time.monotonic() - began < 10


def test_any_thread_may_compare() -> None:
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(equal(r"\frac{1}{2}", "0.5")))
    thread.start()
    thread.join(30)
    assert results == [True]


def test_in_text() -> None:
    assert equal_in_text("42", "So the answer is 42.") == (True, "42")
    assert equal_in_text("42", "So the answer is 41.") == (False, "41")
    assert equal_in_text("42", "no idea") == (False, None)


async def test_boxed_only() -> None:
    text = answer("The answer is 42.")
    assert (await Math().verify(task(42), text, {})).value == 0.0
    reward = await Math(boxed_only=False).verify(task(42), text, {})
    assert (reward.value, reward.extra["extracted_answer"]) == (1.0, "42")
    assert (await Math(boxed_only=False).verify(task(42), answer("42, that is \\boxed{41}"), {})).value == 0.0
    assert (await Math(boxed_only=False).verify(task(42, answer_form="number"), text, {})).value == 0.0


def test_rows_are_checked() -> None:
    assert task(42).expected_answer == "42"
    assert task("42", question="How many?", problem_id="p").question == "How many?"
    for expected in ("", "  ", "1" * 1001):
        with pytest.raises(ValidationError, match="1 to 1000 characters"):
            task(expected)
    with pytest.raises(ValidationError, match="is no finished number"):
        task("40+2", answer_form="number")


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("0123456789+-*/^(){}[]\\frac sqrt,.=<>x%$|_&!~'\ud800٤\n"), max_size=60))
async def test_any_box_is_graded(inner: str) -> None:
    for form in ("any", "number"):
        reward = await Math().verify(task("123456789", answer_form=form), answer("\\boxed{" + inner + "}"), {})
        assert reward.value in (0.0, 1.0)


def test_the_class_alone_does_not_import_sympy() -> None:
    code = "import sys; import gym_ray.environments.math; sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
