"""The language over a task's rollouts: what it says, what it refuses, and that it runs no code."""

from __future__ import annotations

import contextlib
import operator
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_ray.export.where import parse_where
from gym_ray.runs.rollouts import Group, StoredRollout
from gym_ray.types.items import assistant_message, function_call
from gym_ray.types.outcome import Outcome


def group(*rewards: float | None, **fields: Any) -> Group:
    """One rollout per reward; None: a failed one."""
    outcomes = [Outcome.FAILED if reward is None else Outcome.SCORED for reward in rewards]
    return Group(
        [
            StoredRollout(7, "t7", index, "quiz", outcome, reward, finish_reason="stop", **fields)
            for index, (reward, outcome) in enumerate(zip(rewards, outcomes, strict=True))
        ]
    )


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("any(reward >= 1) and mean(reward) < 0.9", True),
        ("any(reward >= 1) and not mean(reward) < 0.9", False),
        ("all(reward >= 0)", False),  # the failed one has no reward
        ("count(reward >= 0) == 3 and rollouts == 4 and scored == 3", True),
        ("0.2 < mean(reward) <= 0.5", True),
        ("share(outcome == 'failed') == 0.25", True),
        ("max(reward) - min(reward) >= 1", True),
        ("std(reward) > 0.4 or environment == 'other'", True),
        ("environment in ('quiz', 'math') and task_id != 't8'", True),
        ("any(finish in ['length'])", False),
        ("mean(tokens) / rollouts == 5", True),
        ("sum(-reward) == -1.5", True),
        ("mean(component.right) == 1", True),
        ("mean(component.wrong) == 1", False),
        ("min(reward) / 0 < 1", False),
        ("any(reward == 'one')", False),
        ("mean(reward >= 1) == 0.25", True),
    ],
)
def test_what_it_says(text: str, holds: bool) -> None:
    its = group(1.0, 0.5, 0.0, None, usage={"completion_tokens": 20}, components={"right": 1.0})
    assert parse_where(text)(its) is holds


def test_calls_and_turns() -> None:
    items = [function_call("add", "{}", "c"), assistant_message("4")]
    assert parse_where("all(calls == 1 and turns == 2)")(group(1.0, turns=2, items=items))


@given(st.lists(st.floats(0, 1) | st.none(), min_size=1, max_size=6), st.floats(0, 1), st.sampled_from(["<", ">="]))
def test_it_agrees_with_python(rewards: list[float | None], limit: float, sign: str) -> None:
    test = {"<": operator.lt, ">=": operator.ge}[sign]
    known = [reward for reward in rewards if reward is not None]
    its, hits = group(*rewards), [test(reward, limit) for reward in known]
    assert parse_where(f"any(reward {sign} {limit!r})")(its) is any(hits)
    assert parse_where(f"all(reward {sign} {limit!r})")(its) is (len(hits) == len(rewards) and all(hits))
    assert parse_where(f"count(reward {sign} {limit!r}) == {sum(hits)}")(its)
    assert parse_where(f"mean(reward) {sign} {limit!r}")(its) is (bool(known) and test(fmean(known), limit))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read"),
        ("any(reward >= 1", "cannot be read at"),
        ("reward >= 1", "`reward` differs from rollout to rollout: any(reward ...)"),
        ("component.right > 0", "differs from rollout to rollout"),
        ("mean(reward)", "is no condition: compare it with something"),
        ("any(reward)", "any takes a condition"),
        ("any(mean(reward) > 1)", "a function inside a function"),
        ("any(reward >= 1, 2)", "any takes one thing"),
        ("avarage(reward) > 1", "no such function"),
        ("anny(reward > 1)", "no such function; nearest: any"),
        ("any(rewards > 1)", "nearest: reward"),
        ("any(environment == quiz)", "a text stands in quotes"),
        ("any(finish in 'length')", "what stands after `in` is a list"),
        ("any(reward is 1)", "not a part of this language"),
        ("any(reward ** 2 > 1)", "not a part of this language"),
        ("mean(reward) > 1 and 2", "`2` is no condition"),
        ("__import__('os').system('true') == 0", "no such function"),
        ("any(().__class__ == 1)", "not a part of this language"),
        ("any((lambda: 1)() > 0)", "no such function"),
        ("any([x for x in (1,)] == 1)", "not a part of this language"),
        ("any(reward > 1) " + "and any(reward > 1) " * 200, "longer than"),
        ("(" * 900 + "1" + ")" * 900, "cannot be read"),
    ],
)
def test_what_it_refuses(text: str, said: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_where(text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text("anyrewd()[]<>=.,'+-*/ 01not", max_size=40))
def test_nothing_but_a_value_error_comes_of_nonsense(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_where(text)(group(1.0, None)) in (True, False)
