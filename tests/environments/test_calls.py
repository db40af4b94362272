"""Function calls: reading, comparing, and pairing them."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_ray.environments.calls import arguments_of, first_calls, includes, matching, same
from gym_ray.environments.functions import FUNCTIONS
from gym_ray.types.items import function_call, function_call_output


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        (" \n", {}),
        ({"a": 1}, {"a": 1}),
        ("[1]", None),
        ("null", None),
        ('{"a": 1', None),
        ('{"a": NaN}', None),
        ('{"a": "\\ud800"}', None),
        ("[" * 10_000, None),
        (None, None),
        (7, None),
    ],
)
def test_arguments(text: Any, arguments: Any) -> None:
    assert arguments_of({"arguments": text}) == arguments


def test_only_the_first_turn_counts() -> None:
    early, late = function_call("a", "{}", "1"), function_call("b", "{}", "2")
    assert first_calls([early, function_call_output("1", ""), late]) == [early]
    assert first_calls([early, late]) == [early, late]


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (None, False, False),
        ("1", 1, False),
        ([1, 2], [2, 1], False),
        ({"a": [1, {"b": None}]}, {"a": [1.0, {"b": None}]}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({}, [], False),
    ],
)
def test_equality(left: Any, right: Any, equal: bool) -> None:
    assert same(left, right) is same(right, left) is equal


def test_more_arguments_are_free() -> None:
    assert includes({"a": 1, "b": 2}, {"a": 1})
    assert not includes({"b": 2}, {"a": 1})
    assert not includes(None, {})


@given(st.lists(st.lists(st.integers(0, 4), max_size=5, unique=True), max_size=5))
def test_matching_is_the_largest(candidates: list[list[int]]) -> None:
    pairs = matching(candidates)
    assert all(partner in candidates[number] for number, partner in pairs.items())
    assert len(set(pairs.values())) == len(pairs)
    best = max(
        sum(partner in wanted for wanted, partner in zip(candidates, order, strict=False))
        for order in permutations(range(5))
    )
    assert len(pairs) == best


def test_functions_draw_what_they_declare() -> None:
    kinds = {"string": str, "integer": int, "number": int, "boolean": bool}
    for function in FUNCTIONS:
        request, arguments = function.draw(random.Random(1))
        assert list(arguments) == list(function.parameters)
        assert all(isinstance(arguments[name], kinds[kind]) for name, kind in function.parameters.items())
        assert all(str(value) in request for value in arguments.values() if isinstance(value, str))
        assert function.vague != request
    assert len({function.name for function in FUNCTIONS}) == len(FUNCTIONS)
