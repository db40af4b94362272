"""Whole collections on a real Ray cluster, against a scripted endpoint in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gym_ray.collect.config import RunConfig
from gym_ray.collect.driver import collect
from gym_ray.types.errors import FailureKind, UserError
from tests.e2e.conftest import rows, sums
from tests.support.endpoint import EndpointProcess
from tests.support.runs import check_exactly_once, jsonl_rows, parquet_rows

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
MakeConfig = Callable[..., RunConfig]


def outcomes(run: Path) -> dict[str, tuple[str, str | None]]:
    """Task id -> (outcome, failure kind) over rollouts and failures."""
    found = {row["gym_ray"]["task_id"]: (row["gym_ray"]["outcome"], row.get("failure_kind")) for row in jsonl_rows(run)}
    return found | {row["task_id"]: ("failed", row["kind"]) for row in jsonl_rows(run, "failures")}


def test_three_kinds_of_environment_in_one_run(make_config: MakeConfig) -> None:
    envs = {
        "sum": ("Sum", sums(30)),
        "counter": ("Counter", rows(["bump 3"] * 10, bumps=3)),
        "longest": ("Longest", rows(["long 7"] * 5)),
    }
    with EndpointProcess("tests.support.scripts:play") as base_url:
        config = make_config(base_url, envs, rollouts_per_task=4, rows_per_shard=50)
        summary = collect(config)
    run = Path(config.run_dir)
    # Task ids count per environment: t0 of `sum` is not t0 of `counter`.
    by_env: dict[str, list[dict[str, Any]]] = {name: [] for name in envs}
    for row in jsonl_rows(run):
        by_env[row["gym_ray"]["environment"]].append(row)
    keys = {(r["gym_ray"]["environment"], r["gym_ray"]["task_id"], r["_ng_rollout_index"]) for r in jsonl_rows(run)}
    assert len(keys) == len(jsonl_rows(run)) == len(parquet_rows(run)) == (30 + 10 + 5) * 4
    assert {name: len(found) for name, found in by_env.items()} == {"sum": 120, "counter": 40, "longest": 20}
    assert all(row["reward"] == 1.0 for row in by_env["sum"] + by_env["counter"])
    assert by_env["sum"][0]["answer"] == str(by_env["sum"][0]["expected"])
    counted = by_env["counter"][0]
    assert [item["type"] for item in counted["response"]["output"]][-3:] == [
        "function_call",
        "function_call_output",
        "message",
    ]
    groups = {row["gym_ray"]["task_id"]: [] for row in by_env["longest"]}
    for row in by_env["longest"]:
        assert row["group"] == 4
        groups[row["gym_ray"]["task_id"]].append(row["reward"])
    assert all(max(rewards) == 1.0 for rewards in groups.values())
    assert len(list(run.glob("rollouts/part-*.jsonl"))) == 4
    assert not summary.interrupted


def test_a_flaky_endpoint_costs_retries_not_rollouts(make_config: MakeConfig) -> None:
    with EndpointProcess("tests.support.scripts:flaky") as base_url:
        config = make_config(base_url, {"sum": ("Sum", sums(50))}, rollouts_per_task=4)
        collect(config)
    got = check_exactly_once(Path(config.run_dir), 50, 4)
    assert len(got) == 200
    assert {row["reward"] for row in got} == {1.0}


def test_trouble_costs_its_own_row_and_is_recorded(make_config: MakeConfig) -> None:
    prompts = {"hang": "hang", "raise": "fine", "slow": "fine", "fine": "fine"}
    trouble = [
        {"task_id": name, "responses_create_params": {"input": prompt}, "trouble": name}
        for name, prompt in prompts.items()
    ]
    heavy = [
        {"task_id": f"heavy-{name}", "responses_create_params": {"input": "go"}, "trouble": name}
        for name in ("segfault", "spin", "fine")
    ]
    with EndpointProcess("tests.support.scripts:play") as base_url:
        config = make_config(base_url, {"trouble": ("Trouble", trouble), "heavy": ("Heavy", heavy)})
        collect(config)
    assert outcomes(Path(config.run_dir)) == {
        "hang": ("scored", None),  # the model was told that its tool timed out, and went on
        "raise": ("masked", FailureKind.VERIFIER_ERROR),
        "slow": ("masked", FailureKind.VERIFIER_TIMEOUT),
        "fine": ("scored", None),
        "heavy-segfault": ("masked", FailureKind.VERIFIER_CRASHED),
        "heavy-spin": ("masked", FailureKind.VERIFIER_TIMEOUT),
        "heavy-fine": ("scored", None),
    }
    masked = {row["gym_ray"]["task_id"]: row for row in jsonl_rows(Path(config.run_dir))}["raise"]
    assert masked["mask_sample"] is True
    assert "cannot read this" in masked["failure_reason"]


def test_a_poisonous_row_is_given_up_and_its_neighbours_are_not(make_config: MakeConfig) -> None:
    tasks = [{**row, "deadly": number == 7} for number, row in enumerate(rows(["fine"] * 40))]
    with EndpointProcess("tests.support.scripts:play") as base_url:
        # Narrow lanes: the culprit flies alone after fewer deaths.
        config = make_config(base_url, {"poison": ("Poison", tasks)}, in_flight=16, max_worker_deaths=1)
        collect(config)
    found = outcomes(Path(config.run_dir))
    assert found.pop("t7") == ("failed", FailureKind.KILL_SHAPED)
    assert set(found.values()) == {("scored", None)}
    assert len(found) == 39


def test_a_finished_run_grows_by_more_rollouts_and_more_tasks(make_config: MakeConfig) -> None:
    with EndpointProcess("tests.support.scripts:play") as base_url:
        first = make_config(base_url, {"sum": ("Sum", sums(20))}, rollouts_per_task=2)
        collect(first)
        before = {row["response"]["id"] for row in jsonl_rows(Path(first.run_dir))}
        again = make_config(base_url, {"sum": ("Sum", sums(25))}, rollouts_per_task=3)
        collect(again)
    got = check_exactly_once(Path(again.run_dir), 25, 3)
    assert len(before) == 40
    assert before <= {row["response"]["id"] for row in got}, "what was there stays as it was"


def test_another_configuration_is_refused_by_name(make_config: MakeConfig) -> None:
    with EndpointProcess("tests.support.scripts:play") as base_url:
        config = make_config(base_url, {"sum": ("Sum", sums(2))})
        collect(config)
        other = config.model_copy(update={"model": config.model.model_copy(update={"name": "another"})})
        with pytest.raises(UserError, match=r"model\.name"):
            collect(other)


def test_bad_rows_stop_the_run_before_it_begins(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("http://127.0.0.1:9/v1", {"sum": ("Sum", sums(3))})
    path = tmp_path / "sum.jsonl"
    path.write_text(path.read_text() + '{"broken\n' + json.dumps({"responses_create_params": {"input": "x"}}) + "\n")
    with pytest.raises(UserError) as caught:
        collect(config)
    assert "sum.jsonl:4" in str(caught.value)
    assert "sum.jsonl:5" in str(caught.value)
    assert "expected" in str(caught.value)


def test_an_endpoint_that_is_not_there_is_told_before_anything_is_rolled(make_config: MakeConfig) -> None:
    config = make_config("http://127.0.0.1:9/v1", {"sum": ("Sum", sums(3))})
    model = config.model.model_copy(update={"connect_timeout_s": 0.5})
    with pytest.raises(UserError, match=r"model\.base_url: cannot connect to http://127\.0\.0\.1:9/v1"):
        collect(config.model_copy(update={"model": model}))
