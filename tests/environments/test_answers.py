"""Boxes and row patterns: what several environments read answers with."""

from __future__ import annotations

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_ray.environments.boxed import MAX_BOX_CHARS, last_boxed
from gym_ray.environments.patterns import BUDGET_S, SlowPattern, is_valid, last_match, occurs


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        (r"\boxed{A}", "A"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1} \boxed{2}.", "2"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{a \} b}", r"a \} b"),
        (r"\boxed{}", ""),
        (r"\boxed{1} \boxed{2", None),
        (r"\boxed 1", None),
        ("no box", None),
        ("", None),
        (r"\boxed{" + "x" * MAX_BOX_CHARS + "}", None),
    ],
)
def test_last_boxed(text: str, inner: str | None) -> None:
    assert last_boxed(text) == inner


@given(st.text(), st.text(st.characters(exclude_characters="{}\\")))
def test_a_box_at_the_end_always_counts(before: str, inner: str) -> None:
    assert last_boxed(before + "\\boxed{" + inner + "}") == inner


def test_huge_texts_are_quick() -> None:
    text = "\\boxed{" + "{" * 2_000_000
    began = time.process_time()
    assert last_boxed(text) is None
    assert time.process_time() - began < 0.05


def test_last_match_takes_the_last_and_its_first_full_group() -> None:
    assert last_match(r"is ([a-d])", "it IS A, no, is b") == "b"
    assert last_match(r"(?:is ([a-d])|was ([a-d]))", "was C") == "C"
    assert last_match(r"[a-d]!", "a! b!") == "b!"
    assert last_match(r"x", "y") is None
    assert last_match(r"([", "(") is None


@pytest.mark.parametrize("pattern", [r"^(a|a)+$", r"^(a+)+$", r"^(a|aa)*c$"])
def test_a_pattern_ends_at_its_deadline(pattern: str) -> None:
    text = "a" * 200 + "b"
    for search in (last_match, occurs):
        began = time.process_time()
        with suppress(SlowPattern):
            assert not search(pattern, text)
        assert time.process_time() - began < BUDGET_S * 5
    with pytest.raises(SlowPattern):
        occurs(r"^(a|a)+$", text)


@given(st.text(max_size=200), st.sampled_from([r"^\d+$", r"[A-Z]{2}", r"(?i)answer\s*:\s*(\w)", r"\bcat\b", "é"]))
def test_patterns_mean_what_they_mean_in_python(text: str, pattern: str) -> None:
    assert is_valid(pattern)
    if text.isascii():
        assert occurs(pattern, text) == bool(re.search(pattern, text))
