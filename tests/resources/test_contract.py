"""The contract check finds each kind of fault, and finds none in an environment that behaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gym_ray.resources.contract import CheckResult, check
from gym_ray.resources.golden import Golden, load_golden
from gym_ray.types.errors import UserError
from gym_ray.types.items import assistant_message, function_call
from tests.resources.helpers import SERVERS, row

DONE = assistant_message("done")
CHECKS = ["load", "tools", "examples", "golden", "close", "isolation", "event loop"]


def golden(*adds: int, reward: float | None = 1.0, **more: Any) -> Golden:
    calls = [function_call("add", json.dumps({"amount": amount}), f"c{amount}") for amount in adds]
    given = {"task": 0, "items": [*calls, DONE], "tool_calls_executed": True, "expected_reward": reward, **more}
    return Golden.model_validate(given)


async def results(
    name: str, cases: list[Golden], examples: list[dict[str, Any]] | None = None
) -> dict[str, CheckResult]:
    found = await check(f"{SERVERS}:{name}", [row(3)] if examples is None else examples, cases)
    return {result.name: result for result in found}


def failed(found: dict[str, CheckResult]) -> list[str]:
    return [result.name for result in found.values() if not result.passed]


async def test_an_environment_that_behaves() -> None:
    mask = Golden(task=0, items=[assistant_message("raise")], expected_mask="verifier_error", note="malformed")
    garbled = Golden(
        task=0, items=[function_call("add", "{", "c"), DONE], tool_calls_executed=True, expected_reward=0.0
    )
    whole_row = golden(2, task=row(2))
    found = await results("Counter", [golden(1, 2), golden(1, reward=0.0), mask, garbled, whole_row])
    assert failed(found) == []
    assert list(found) == CHECKS
    assert found["golden"].detail == "5 trajectories"


async def test_a_cpu_bound_environment_that_behaves() -> None:
    cases = [Golden(task=0, items=[assistant_message("fine")], expected_reward=1.0)]
    slow = Golden(task=0, items=[assistant_message("sleep 0.2")], expected_reward=1.0)
    assert failed(await results("Crasher", [*cases, slow])) == []


async def test_gymnasium_episodes() -> None:
    go = [[assistant_message("go")]]
    cases = [
        Golden(task=0, turns=go * 3, expected_reward=3.0),
        Golden(task=0, turns=go * 5, expected_reward=3.0, note="ends before the last turns"),
        Golden(task=0, turns=go, expected_reward=1.0),
    ]
    assert failed(await results("Walk", cases)) == []


async def test_group_verdicts() -> None:
    cases = [
        Golden(task=0, items=[assistant_message("longest")], expected_reward=1.0),
        Golden(task=0, items=[assistant_message("x")], expected_reward=0.0),
    ]
    assert failed(await results("Group", cases)) == []


@pytest.mark.parametrize(
    ("name", "check_name", "said"),
    [
        ("SharesState", "isolation", "beside other sessions"),
        ("Blocks", "event loop", "tool `add` held the event loop for 1"),
        ("ClosesOnce", "close", "KeyError: 'count'"),
        ("ChangesTask", "golden", "the task was changed"),
        ("BadReward", "golden", "the components sum to 0.5, the reward is 1"),
        ("BadReward", "golden", "`extra` is not JSON"),
    ],
)
async def test_each_fault_is_found(name: str, check_name: str, said: str) -> None:
    found = await results(name, [golden(3)])
    assert said in found[check_name].detail
    assert failed(found) == [check_name]


async def test_a_wrong_expectation_says_both_verdicts() -> None:
    mask = golden(3, reward=None, expected_mask="judge_failed", note="adversarial")
    found = await results("Counter", [golden(1), mask])
    assert found["golden"].detail.splitlines() == [
        "task 0: reward 0, expected reward 1",
        "task 0 (adversarial): reward 1, expected masked (judge_failed)",
    ]


async def test_examples_that_do_not_fit() -> None:
    found = await results("Counter", [golden(3)], [row(3), {**row(), "goal": "high"}])
    assert failed(found) == ["examples"]
    assert found["examples"].detail.startswith("example 1: goal: ")


async def test_a_seed_that_fails_is_reported() -> None:
    found = await results("Counter", [golden(3)], [row(-1)])
    assert failed(found) == ["golden", "close", "isolation"]


async def test_no_examples_and_no_golden() -> None:
    found = await results("Counter", [], [])
    assert failed(found) == ["examples", "golden"]


async def test_a_class_that_cannot_be_loaded() -> None:
    found = await results("Conter", [])
    assert failed(found) == ["load"]


def test_golden_files(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    good = {"task": 0, "items": [], "expected_reward": 1, "expected_mask": None, "note": "right"}
    path.write_text(json.dumps(good) + "\n\n")
    assert [(one.expected_reward, one.title) for one in load_golden(path)] == [(1.0, "task 0 (right)")]
    bad = ["{", json.dumps({**good, "expected_mask": "x"}), json.dumps({**good, "colour": 1})]
    path.write_text("\n".join([json.dumps(good), *bad]))
    with pytest.raises(UserError) as caught:
        load_golden(path)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[1] for line in lines] == ["2", "3", "4"]
    assert "colour" in lines[2]
    with pytest.raises(UserError, match="cannot be read"):
        load_golden(tmp_path / "missing.jsonl")
