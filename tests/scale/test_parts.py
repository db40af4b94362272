"""Several jobs over one plan: each makes its own tasks, nothing twice, and shards come once, at the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gym_ray.collect.config import CollectConfig, RunConfig
from gym_ray.collect.driver import collect
from gym_ray.collect.journal.index import scan
from gym_ray.collect.rundir import RunDir
from gym_ray.models.config import ModelConfig
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.runs.recover import recover
from gym_ray.types.errors import UserError
from tests.support.endpoint import EndpointProcess
from tests.support.runs import check_exactly_once

TASKS = 30


def config(folder: Path, base_url: str, part: str | None) -> RunConfig:
    tasks = folder / "tasks.jsonl"
    rows = [
        {"task_id": f"t{number}", "responses_create_params": {"input": f"sum {number} 1"}, "expected": number + 1}
        for number in range(TASKS)
    ]
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RunConfig(
        run_dir=str(folder / "run"),
        envs={"sum": EnvironmentConfig(server="tests/support/envs.py:Sum", tasks=str(tasks))},
        model=ModelConfig(base_url=base_url, name="scripted"),
        collect=CollectConfig(rollouts_per_task=2, agent_cpus=0.1, part=part),
    )


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_two_parts_make_one_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with EndpointProcess("tests.support.scripts:play") as base_url:
        first = collect(config(tmp_path, base_url, "1/2"))
        assert (first.expected, first.scored, first.missing) == (2 * TASKS, TASKS, TASKS)
        assert not run.joinpath("manifest.json").exists()
        again = collect(config(tmp_path, base_url, "1/2"))
        assert again.scored == TASKS, "a part that is complete makes nothing"
        second = collect(config(tmp_path, base_url, "2/2"))
    assert (second.scored, second.missing, second.duplicates) == (2 * TASKS, 0, 0)
    assert not run.joinpath("manifest.json").exists()
    whole = recover(str(run))
    assert (whole.scored, whole.missing, whole.duplicates) == (2 * TASKS, 0, 0)
    check_exactly_once(run, TASKS, 2)
    assert len(scan(RunDir(str(run))).segments) == 2


@pytest.mark.parametrize("part", ["0/2", "3/2", "2", "a/b", "1/0"])
def test_a_part_that_is_none_is_refused(tmp_path: Path, part: str) -> None:
    with pytest.raises(UserError, match="must be like 2/4"):
        collect(config(tmp_path, "http://127.0.0.1:9/v1", part))
