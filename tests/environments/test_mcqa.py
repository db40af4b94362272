"""Multiple choice: the readers one by one, the rows, any text, and the time it takes."""

from __future__ import annotations

import time
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gym_ray.environments.mcqa import Mcqa
from gym_ray.environments.mcqa.grading import (
    READERS,
    GradingMode,
    after_colon,
    after_colon_markdown,
    boxed_letter,
    boxed_letter_or_text,
    by_patterns,
)
from gym_ray.environments.mcqa.server import letter_options
from gym_ray.types.items import assistant_message
from gym_ray.types.trajectory import Trajectory

OPTIONS = {"A": "Circle", "B": "Square", "C": "Red  Dot", "D": "7"}


def row(**fields: Any) -> dict[str, Any]:
    options = [{letter: text} for letter, text in OPTIONS.items()]
    return {"responses_create_params": {"input": "?"}, "options": options, "expected_answer": "B"} | fields


def answer(text: str) -> Trajectory:
    return Trajectory.of_items([assistant_message(text)])


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        (r"\boxed{B}", "B"),
        (r"\boxed{ [B] }", "B"),
        (r"\boxed{\text{ B }}", "B"),
        (r"\boxed{\text{\text{B}}}", "B"),
        (r"\boxed{B. Square}", "B"),
        (r"\boxed{B - it is a square}", "B"),
        (r"\boxed{A square}", None),
        (r"\boxed{Square}", None),
        (r"\boxed{b}", None),
        (r"\boxed{E}", None),
        (r"\boxed{B C}", None),
    ],
)
def test_strict(text: str, letter: str | None) -> None:
    assert boxed_letter(text, OPTIONS) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        (r"\boxed{Square}", "B"),
        (r"\boxed{a SQUARE, surely}", "B"),
        (r"\boxed{red dot}", "C"),
        (r"\boxed{circle or square}", None),
        (r"\boxed{A}", "A"),
        (r"\boxed{triangl}", None),
        ("Square", None),
    ],
)
def test_lenient(text: str, letter: str | None) -> None:
    assert boxed_letter_or_text(text, OPTIONS) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Answer: b", "B"),
        ("ANSWER :  square", "B"),
        (r"answer: \text{C}", "C"),
        ("Answer: B because", None),
        ("Answer: Q\nAnswer: A", None),
        ("B", None),
    ],
)
def test_after_colon(text: str, letter: str | None) -> None:
    assert after_colon(text, OPTIONS) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("**Answer**: C", "C"),
        ("Answer: b because it is", "B"),
        ("Answer: it must be D.", "D"),
        ("Answer: A/B", None),
        ("Answer: A, or rather B", "A"),
        ("Answer: A and C", None),
        ("Answer: B\nAnswer: none of them", "B"),
        ("Answer: \uff24", "D"),
    ],
)
def test_after_colon_markdown(text: str, letter: str | None) -> None:
    assert after_colon_markdown(text, OPTIONS) == letter


def test_patterns() -> None:
    assert by_patterns("pick a, pick b", OPTIONS, [r"pick (\w)"]) == "B"
    assert by_patterns("pick square", OPTIONS, [r"choose (\w)", r"pick (\w+)"]) == "B"
    assert by_patterns("pick z", OPTIONS, [r"pick (\w)"]) == "Z"
    assert by_patterns("pick none", OPTIONS, [r"pick (\w+)"]) is None


def test_rows_are_checked() -> None:
    assert Mcqa.Task.model_validate(row(expected_answer=" b ", uuid="u", extra=1)).model_extra == {
        "uuid": "u",
        "extra": 1,
    }
    with pytest.raises(ValidationError, match="is none of the `options`"):
        Mcqa.Task.model_validate(row(expected_answer="Z"))
    Mcqa.Task.model_validate(row(expected_answer="Z", template_metadata={"output_regex": "(.)"}))
    with pytest.raises(ValidationError, match="grading_mode"):
        Mcqa.Task.model_validate(row(grading_mode="guess"))
    assert letter_options([{"a": "x", "B": None}, {"C": "y", "10": "z"}]) == {"A": "x", "C": "y"}


async def test_the_option_overrides_the_rows_mode() -> None:
    task = Mcqa.Task.model_validate(row())
    assert (await Mcqa().verify(task, answer("Answer: B"), {})).value == 0.0
    assert (await Mcqa(grading_mode="lenient_answer_colon").verify(task, answer("Answer: B"), {})).value == 1.0
    with pytest.raises(ValueError, match="is none of strict"):
        Mcqa(grading_mode="guess")  # type: ignore[arg-type]
    assert set(READERS) == set(get_args(GradingMode))


SPICE = st.sampled_from(["\\boxed{", "}", "{", "Answer:", "\\text{", "**", "B", "A/B", "\x00", "\ud800", "ب"])


@given(st.lists(st.one_of(st.text(max_size=20), SPICE), max_size=12), st.sampled_from(get_args(GradingMode)))
async def test_any_text_is_graded(parts: list[str], mode: GradingMode) -> None:
    reward = await Mcqa(grading_mode=mode).verify(Mcqa.Task.model_validate(row()), answer("".join(parts)), {})
    assert reward.value in (0.0, 1.0)
    assert (reward.value == 1.0) == (reward.extra["extracted_answer"] == "B")


@pytest.mark.parametrize("mode", get_args(GradingMode))
@pytest.mark.parametrize(
    "piece", ["\\text{", "answer : ", "Answer: A ", "\\boxed{", "A B ", " ", "\n", "**answer", "answer" + " " * 40]
)
async def test_long_texts_take_linear_time(mode: GradingMode, piece: str) -> None:
    text = piece * (500_000 // len(piece)) + "}" * 1000
    task = Mcqa.Task.model_validate(row())
    began = time.process_time()
    await Mcqa(grading_mode=mode).verify(task, answer(text), {})
    assert time.process_time() - began < 1.0
