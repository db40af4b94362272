"""Collections whose verifiers ask a model: an endpoint, the policy itself, a deployment of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ray import serve

from gym_ray.collect.config import RunConfig
from gym_ray.collect.driver import collect
from gym_ray.types.errors import FailureKind, UserError
from gym_ray.types.items import assistant_message
from tests.e2e.conftest import rows
from tests.support.endpoint import EndpointProcess
from tests.support.runs import check_exactly_once, parquet_rows

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
RETRY = {"max_attempts": 2, "base_s": 0.02, "max_s": 0.1}


def config(tmp_path: Path, server: str, tasks: list[dict[str, Any]], base_url: str, **more: Any) -> RunConfig:
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in tasks))
    settings = {
        "run_dir": str(tmp_path / "run"),
        "envs": {"env": {"server": server, "tasks": str(path), **more.pop("env", {})}},
        "model": {"base_url": base_url, "name": "scripted", "retry": RETRY},
        "collect": {"agent_cpus": 0.1, **more.pop("collect", {})},
        **more,
    }
    return RunConfig.model_validate(settings)


EQUIVALENCE = "gym_ray.environments.equivalence_llm_judge:EquivalenceJudge"


def sums(**expected: str) -> list[dict[str, Any]]:
    prompt = {"responses_create_params": {"input": "sum 2 3"}}
    return [{"task_id": name, **prompt, "expected_answer": answer} for name, answer in expected.items()]


@pytest.mark.parametrize("placement", ["actor", "inline", "process"])
def test_a_judge_scores_and_what_it_cannot_judge_is_masked(tmp_path: Path, placement: str) -> None:
    tasks = sums(right="5", wrong="6", down="DOWN", mumble="MUMBLE")
    with (
        EndpointProcess("tests.support.scripts:play") as policy,
        EndpointProcess("tests.support.scripts:judge") as judge,
    ):
        strict = {"base_url": judge, "name": "j", "retry": RETRY}
        env = {"placement": placement, "judge": "strict"}
        run = config(tmp_path, EQUIVALENCE, tasks, policy, env=env, judges={"strict": strict})
        collect(run)
        with pytest.raises(UserError, match=r"judges\.strict\.name"):
            collect(
                run.model_copy(update={"judges": {"strict": run.judges["strict"].model_copy(update={"name": "k"})}})
            )
    found = {row["gym_ray"]["task_id"]: row for row in check_exactly_once(Path(run.run_dir), 4, 1)}
    assert {name: row["gym_ray"]["outcome"] for name, row in found.items()} == {
        "right": "scored",
        "wrong": "scored",
        "down": "masked",
        "mumble": "masked",
    }
    assert (found["right"]["reward"], found["wrong"]["reward"]) == (1.0, 0.0)
    usage = found["right"]["judge_usage"]
    assert usage["calls"] == 1
    assert usage["seconds"] > 0
    assert found["right"]["judge_evaluations"] == [{"verdict_label": "[[A=B]]", "text": "[[A=B]]"}]
    assert found["down"]["failure_kind"] == FailureKind.JUDGE_FAILED
    assert "gave up after 2 attempts" in found["down"]["failure_reason"]
    assert found["mumble"]["failure_kind"] == FailureKind.JUDGE_UNPARSEABLE
    assert "Who can tell?" in found["mumble"]["failure_reason"]
    assert {row["task_id"]: row["mask_sample"] for row in parquet_rows(Path(run.run_dir))}["down"] is True


def test_the_policy_judges_its_own_groups(tmp_path: Path) -> None:
    with EndpointProcess("tests.support.scripts:player_and_judge") as base_url:
        run = config(
            tmp_path,
            "gym_ray.environments.genrm_compare:GenrmCompare",
            rows(["long 7"] * 3),
            base_url,
            env={"judge": "policy"},
            collect={"rollouts_per_task": 4},
        )
        collect(run)
    found = check_exactly_once(Path(run.run_dir), 3, 4)
    for task in ("t0", "t1", "t2"):
        group = [row for row in found if row["gym_ray"]["task_id"] == task]
        assert all(len(row["comparisons"]) == 2 for row in group)
        assert [row["judge_usage"]["calls"] for row in group] == [1.0] * 4
        assert all(3.0 <= row["reward"] <= 5.0 for row in group)
        assert all(row["reward_components"]["comparison"] == row["reward"] for row in group)


def test_a_judge_gets_replicas_of_its_own_for_the_time_of_the_run(tmp_path: Path) -> None:
    served = {
        "engine": "tests.models.serve.scripted:ScriptedModel",
        "engine_args": {"script": [[assistant_message("[[A=B]]")]], "tokens": 3},
        "num_cpus": 0.1,
    }
    with EndpointProcess("tests.support.scripts:play") as base_url:
        judges = {"default": {"kind": "vllm", "name": "own", "serve": served}, "unasked": {"name": "nowhere"}}
        run = config(tmp_path, EQUIVALENCE, sums(right="5", wrong="6"), base_url, judges=judges)
        collect(run)
    found = check_exactly_once(Path(run.run_dir), 2, 1)
    assert [row["reward"] for row in found] == [1.0, 1.0]
    assert found[0]["judge_usage"]["completion_tokens"] == 3
    assert "judge-default" not in serve.status().applications


@pytest.mark.parametrize(
    ("judges", "problem"),
    [
        ({}, "asks the judge `default`"),
        ({"default": {"name": "x"}}, r"judges\.default\.base_url is not set"),
        ({"default": {"base_url": "http://x/v1", "api_key_env": "NO_SUCH_KEY"}}, r"judges\.default\.api_key_env"),
        ({"default": {"kind": "vllm", "serve": {"http_port": 1}}}, r"judges\.default\.serve\.http_port"),
        ({"policy": {"base_url": "http://x/v1"}}, r"judges\.policy"),
    ],
)
def test_a_judge_that_cannot_work_is_told_before_anything_starts(tmp_path: Path, judges: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        collect(config(tmp_path, EQUIVALENCE, sums(a="5"), "http://127.0.0.1:9/v1", judges=judges))
    assert not (tmp_path / "run" / "journal").exists()
