"""A group's verdict that kills the worker it runs in: found out, given up, and nobody else pays for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gym_ray.collect.config import RunConfig
from gym_ray.collect.driver import collect
from gym_ray.types.errors import FailureKind
from tests.e2e.conftest import rows
from tests.support.endpoint import EndpointProcess
from tests.support.runs import check_exactly_once

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def test_a_deadly_group_verifier_is_given_up_and_its_neighbours_are_not(make_config: Callable[..., RunConfig]) -> None:
    tasks = [{**row, "deadly": number == 3} for number, row in enumerate(rows(["fine"] * 6))]
    with EndpointProcess("tests.support.scripts:play") as base_url:
        envs = {"group": ("PoisonousGroup", tasks)}
        config = make_config(base_url, envs, rollouts_per_task=2, in_flight=8, max_worker_deaths=1)
        collect(config)
    found = check_exactly_once(Path(config.run_dir), 6, 2)
    deadly = [row for row in found if row["gym_ray"]["task_id"] == "t3"]
    assert [row["failure_kind"] for row in deadly] == [FailureKind.KILL_SHAPED] * 2
    assert all("its group's verifier" in row["failure_reason"] for row in deadly)
    assert all(row["response"]["output"] for row in deadly), "what was generated is kept"
    assert {row["gym_ray"]["outcome"] for row in found if row not in deadly} == {"scored"}
