"""A blend in one run: each environment's own group size, concurrency, agent and sampling, and one report."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from gym_ray.collect.config import RunConfig
from gym_ray.collect.driver import collect
from tests.e2e.conftest import sums
from tests.support.endpoint import EndpointProcess
from tests.support.runs import jsonl_rows

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def test_each_environment_keeps_to_its_own_settings(make_config: Callable[..., RunConfig]) -> None:
    with EndpointProcess("tests.support.scripts:play") as policy:
        plain = make_config(policy, {"free": ("Sum", sums(6)), "bound": ("Sum", sums(6))}, rollouts_per_task=2)
        bound = {"in_flight": 1, "rollouts_per_task": 4, "sampling": {"temperature": 0.25}, "limit": 5}
        envs = {**plain.envs, "bound": plain.envs["bound"].model_copy(update=bound)}
        tasks = plain.tasks.model_copy(update={"order": "weighted"})
        summary = collect(plain.model_copy(update={"envs": envs, "tasks": tasks}))
    assert (summary.scored, summary.failed, summary.missing) == (6 * 2 + 5 * 4, 0, 0)
    assert {name: its["scored"] for name, its in summary.environments.items()} == {"free": 12, "bound": 20}
    rows = [row["gym_ray"] | {"params": row["responses_create_params"]} for row in jsonl_rows(Path(plain.run_dir))]
    keys = {(row["environment"], row["task_id"], row["rollout_index"]) for row in rows}
    assert len(keys) == len(rows) == 32
    spans = sorted((row["started"], row["finished"]) for row in rows if row["environment"] == "bound")
    assert all(later[0] >= earlier[1] for earlier, later in pairwise(spans))
    assert {row["environment"]: row["params"].get("temperature") for row in rows} == {"free": None, "bound": 0.25}
