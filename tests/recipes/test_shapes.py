"""All environments and judges of a recipe in one agent worker, policy and judges scripted: nothing may fail.

No Ray and no engine: what is left is the recipe's own part, its options, judges, turns and sampling.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gym_ray.cli.recipe import HOSTED, compose_recipe
from gym_ray.collect.judges import asked_judges
from gym_ray.collect.output.finalize import finalize
from gym_ray.collect.pipeline import PLAN_COLUMNS, planned_tasks
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.tasks.plan import write_plan
from gym_ray.collect.worker import AgentWorker, WorkerSetup
from gym_ray.models.judge import JudgeTable
from gym_ray.resources.load import load_server
from tests.support.endpoint import Call, EndpointProcess


def speak(call: Call) -> str:
    """Something that is neither right nor a verdict."""
    return "I would rather not say."


@pytest.mark.parametrize("name", ["nemotron3_nano/rlvr", "nemotron3_super/rlvr1", "nemotron3_super/swe2"])
def test_nothing_fails(name: str, tmp_path: Path) -> None:
    with EndpointProcess("tests.recipes.test_shapes:speak") as endpoint:
        words = [
            "model=openai",
            f"model.base_url={endpoint}",
            "model.name=scripted",
            "tasks.path=null",
            "tasks.limit=1",
        ]
        words += ["collect.rollouts_per_task=2", f"run_dir={tmp_path / 'run'}"]
        config = compose_recipe(name, words).config
        envs = {
            env: one.model_copy(update={"placement": "inline", "judge": "policy", "verify_workers": 1})
            for env, one in config.envs.items()
            if not one.server.startswith(HOSTED)
        }
        run = config.run.model_copy(update={"envs": envs})
        servers = {env: load_server(one.server) for env, one in envs.items()}
        assert set(asked_judges(run, servers)) <= {"policy"}
        folder = RunDir.create(run.run_dir)
        plan = write_plan(folder, run, servers)
        worker = AgentWorker(WorkerSetup(folder.address, run, judges=JudgeTable({"policy": (run.model, None)})), "w0")
        for path in plan.files(folder):
            worker.run(planned_tasks(pq.read_table(path, columns=PLAN_COLUMNS, partitioning=None)))
        worker.close()
    summary = finalize(folder, run, plan)
    assert (summary.expected, summary.missing, summary.failed) == (2 * len(envs), 0, 0), summary.environments
    scored = {env for env, its in summary.environments.items() if its["scored"]}
    # A judge that says nothing readable masks; everything else is scored.
    assert scored >= {env for env in envs if not servers[env].roles(envs[env].options)}
