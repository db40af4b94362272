"""Whole collections on NeMo Gym's own servers, and its own agent on ours. Needs the package (scripts/test_nemo_gym)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gym_ray.collect.config import RunConfig
from gym_ray.collect.driver import collect
from gym_ray.types.errors import UserError
from tests.support.endpoint import Call, EndpointProcess, Say
from tests.support.runs import check_exactly_once

pytestmark = [pytest.mark.nemo_gym, pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
SERVER = "gym_ray.integrations.nemo_gym:NemoGym"


def counting(call: Call) -> str | Say:
    """Adds the two numbers of the question to the counter, then asks for it."""
    steps = [word for word in call.question.split() if word.isdigit()]
    done = len(call.outputs)
    if done < len(steps):
        return Say(calls=[("increment_counter", {"count": int(steps[done])})])
    return Say(calls=[("get_counter_value", {})]) if done == len(steps) else "done"


def judging(call: Call) -> str:
    """The policy says 42; the judge finds that equal to everything."""
    return "[[A=B]]" if "[[A=B]]" in str(call.items) else "42"


def config(tmp_path: Path, base_url: str, server: str, **more: Any) -> RunConfig:
    options = {"server": server, **more.pop("options", {})}
    settings = {
        "run_dir": str(tmp_path / "run"),
        "envs": {server: {"server": SERVER, "options": options}},
        "model": {"base_url": base_url, "name": "scripted", "dialect": "chat"},
        "collect": {"agent_cpus": 0.1, "rollouts_per_task": 2},
        **more,
    }
    return RunConfig.model_validate(settings)


def test_stateful_tools_of_a_hosted_server(tmp_path: Path) -> None:
    with EndpointProcess(f"{__name__}:counting") as base_url:
        run = config(tmp_path, base_url, "example_session_state_mgmt")
        collect(run)
    rows = check_exactly_once(Path(run.run_dir), 5, 2)
    assert {row["reward"] for row in rows} == {1.0}
    calls = Counter(
        item["name"] for row in rows for item in row["response"]["output"] if item["type"] == "function_call"
    )
    assert calls == {"increment_counter": 20, "get_counter_value": 10}


def test_its_judge_is_ours_and_without_one_the_run_does_not_start(tmp_path: Path) -> None:
    with EndpointProcess(f"{__name__}:judging") as base_url:
        run = config(tmp_path, base_url, "equivalence_llm_judge")
        with pytest.raises(UserError, match="asks the judge"):
            collect(run)
        judge = {"base_url": base_url, "name": "j", "dialect": "chat"}
        run = config(tmp_path, base_url, "equivalence_llm_judge", judges={"default": judge})
        collect(run)
    rows = check_exactly_once(Path(run.run_dir), 5, 2)
    assert {row["gym_ray"]["outcome"] for row in rows} == {"scored"}
    assert {row["reward"] for row in rows} == {1.0}
    assert all(row["judge_usage"]["calls"] >= 1 for row in rows)


def test_without_its_judge_a_verdict_is_masked_not_zero(tmp_path: Path) -> None:
    with EndpointProcess(f"{__name__}:judging") as base_url:
        run = config(tmp_path, base_url, "equivalence_llm_judge", options={"models": []})
        collect(run)
    rows = check_exactly_once(Path(run.run_dir), 5, 2)
    assert {(row["gym_ray"]["outcome"], row["failure_kind"]) for row in rows} == {("masked", "judge_failed")}
