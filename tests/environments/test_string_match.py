"""Short answers: where they stand, what is the same, any text. Whole rows are golden."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gym_ray.environments.string_match import StringMatch
from gym_ray.environments.string_match.compare import STATES, agreement
from gym_ray.environments.string_match.extract import ExtractionMode, answer_in
from gym_ray.types.items import assistant_message
from tests.environments.support import grade

MODES = get_args(ExtractionMode)


@pytest.mark.parametrize(
    ("mode", "text", "answer"),
    [
        ("boxed", r"\boxed{ a }", "a"),
        ("boxed", r"\boxed{\text{ \text{a} }}", "a"),
        ("boxed", r"\boxed{\text{a} b}", r"\text{a} b"),
        ("boxed", r"\boxed{\text{a} and \text{b}}", r"\text{a} and \text{b}"),
        ("boxed", r"\boxed{\text{}}", ""),
        ("boxed", "a", None),
        ("final_answer", "Answer: a.", "a"),
        ("final_answer", "FINAL  ANSWER : a b ...", "a b"),
        ("final_answer", "answer:\n\n a", "a"),
        ("final_answer", "Answer: a\nAnswer\uff1a b", "b"),
        ("final_answer", r"So \boxed{a}", "a"),
        ("final_answer", "a", None),
        ("last_line", "x\n a \n\n", "a"),
        ("last_line", " \n", None),
        ("full_response", " a\nb ", "a\nb"),
        ("full_response", " ", None),
        ("full_response", "a" * 5000, None),
    ],
)
def test_answers(mode: ExtractionMode, text: str, answer: str | None) -> None:
    assert answer_in(text, mode) == answer


@pytest.mark.parametrize(
    ("expected", "given", "value"),
    [
        ("Paris", "paris!", 1.0),
        ("Paris", "'Paris'", 1.0),
        ("Paris", "Lyon", 0.0),
        ("80", "80.0", 1.0),
        ("1000", "1,000", 1.0),
        ("1000", "$1000", 1.0),
        ("5%", r"5\%", 1.0),
        ("5", "5 km", 0.98),
        ("5 km", "5km", 0.98),
        ("90", "90^\\circ", 0.98),
        ("100", "100.5", 0.98),
        ("100", "102", 0.0),
        ("0", "0.1", 0.0),
        (r"\text{red}", "$red$", 1.0),
        (r"\frac{1}{2}", r"\mathbf{\frac{1}{2}}", 1.0),
        ("red, green, blue", "red green blue", 1.0),
        ("New York", "NY", 1.0),
        ("Arkansas", "AR", 1.0),
        ("Arkansas", "arks", 0.0),
        ("team", "tea", 0.0),
        ("candy", "c y", 0.0),
        ("\ufb01ve", "five", 1.0),
        ("5", "nan", 0.0),
        ("5", "inf", 0.0),
        (".", ".", 1.0),
    ],
)
def test_agreement(expected: str, given: str, value: float) -> None:
    assert agreement(expected, given) == value


def test_all_states() -> None:
    assert len(STATES) == len(set(STATES.values())) == 51
    assert all(agreement(name, code) == 1.0 for name, code in STATES.items())


def row(**fields: Any) -> dict[str, Any]:
    return {"responses_create_params": {"input": "?"}, "expected_answer": "a"} | fields


async def test_messages_are_lines() -> None:
    items = [assistant_message("x"), assistant_message("a")]
    assert (await grade(StringMatch(), row(extraction_mode="last_line"), items)).value == 1.0


@pytest.mark.parametrize("fields", [{"expected_answer": ""}, {"extraction_mode": "first_line"}])
def test_bad_rows(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        StringMatch.Task.model_validate(row(**fields))


SPICE = ["\\boxed{", "\\text{", "{", "}", "Answer:", "$", "\\(", "1", ",", "°", " km", "nan", "\n", "and", '"', "."]


@given(st.lists(st.sampled_from(SPICE) | st.text(max_size=3), max_size=15), st.sampled_from(MODES), st.booleans())
async def test_any_text_is_graded(parts: list[str], mode: str, exact: bool) -> None:
    text = "".join(parts)
    server, task = StringMatch(), row(extraction_mode=mode, case_sensitive=exact)
    reward = await grade(server, task, [assistant_message(text)])
    found = reward.extra["extracted_answer"]
    assert found is None or found in text
    if found:
        again = await grade(server, task | {"expected_answer": found}, [assistant_message(text)])
        assert again.value == 1.0
