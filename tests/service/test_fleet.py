"""The fleet on a real Ray: groups at any time, workers that die, directories that are gone on with."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gym_ray.collect.config import RunConfig
from gym_ray.collect.journal.index import scan
from gym_ray.collect.rundir import RunDir
from gym_ray.service.fleet import Fleet
from gym_ray.types.errors import FailureKind, UserError
from gym_ray.types.outcome import Outcome
from tests.support.endpoint import EndpointProcess
from tests.support.processes import kill, named, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
MakeConfig = Callable[..., RunConfig]


def row(environment: str, prompt: str, **fields: Any) -> dict[str, Any]:
    return {"environment": environment, "responses_create_params": {"input": prompt}, **fields}


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with EndpointProcess("tests.support.scripts:play", latency=0.1) as url:
        yield url


async def test_groups_end_one_by_one_while_a_worker_dies_and_a_poisonous_row_is_given_up(
    make_config: MakeConfig, base_url: str
) -> None:
    config = make_config(base_url, "Sum", "Poison", "Longest", num_agents=2, in_flight=8, max_worker_deaths=1)
    fleet = Fleet(config)
    await fleet.start()
    with pytest.raises(UserError, match="expected"):
        fleet.plan(row("sum", "sum 1 1"))
    plans = [fleet.plan(row("sum", f"sum {n} 1", expected=n + 1)) for n in range(60)]
    groups = [asyncio.ensure_future(fleet.run_group(plan)) for plan in plans]
    longest = asyncio.ensure_future(fleet.run_group(fleet.plan(row("longest", "long 7"), rollouts=3)))
    for _, group in zip(range(10), asyncio.as_completed(groups), strict=False):
        await group
    assert not all(group.done() for group in groups), "nobody waits for the slowest"
    workers = named(os.getpid(), "ray::Hand")
    assert len(workers) == 2
    kill(workers[0])
    poison = asyncio.ensure_future(fleet.run_group(fleet.plan(row("poison", "fine", deadly=True), rollouts=1)))
    rollouts = [one for group in await asyncio.gather(*groups) for one in group]
    assert [(one.task_number, one.rollout_index) for one in rollouts] == [(n, i) for n in range(60) for i in range(4)]
    assert {one.reward.value for one in rollouts if one.reward} == {1.0}
    assert {one.reward.extra["group"] for one in await longest if one.reward} == {3}
    given_up = (await poison)[0]
    assert given_up.outcome is Outcome.FAILED
    assert given_up.failure is not None
    assert given_up.failure.kind == FailureKind.KILL_SHAPED
    assert fleet.in_flight == 0
    await fleet.close()
    index = scan(RunDir(config.run_dir))
    assert index.duplicates == 0
    assert len(index.done) == 60 * 4 + 3 + 1


async def test_a_new_fleet_goes_on_with_numbers_and_with_groups_that_the_old_one_gave_up(
    make_config: MakeConfig, base_url: str
) -> None:
    config = make_config(base_url, "Sum", in_flight=1)
    fleet = Fleet(config)
    await fleet.start()
    first = fleet.plan(row("sum", "sum 1 1", expected=2), rollouts=4)
    second = fleet.plan(row("sum", "sum 2 1", expected=3), rollouts=40)
    await fleet.run_group(first)
    lost = asyncio.ensure_future(fleet.run_group(second))
    await asyncio.to_thread(wait_for, lambda: len(scan(RunDir(config.run_dir)).done) > 4, 20, "a rollout of it")
    await fleet.close()
    with pytest.raises(UserError, match="closed"):
        await lost
    half = scan(RunDir(config.run_dir))
    again = Fleet(config)
    await again.start()
    assert again.plan(second.row).number == 2
    rollouts = await again.run_group(again.plan(second.row, rollouts=40, number=second.number))
    await again.close()
    assert [one.rollout_index for one in rollouts] == list(range(40))
    index = scan(RunDir(config.run_dir))
    assert len(half.done) < len(index.done) == 44
    assert index.duplicates == 0


async def test_a_group_with_endpoints_of_its_own_asks_them(make_config: MakeConfig, base_url: str) -> None:
    fleet = Fleet(make_config("http://127.0.0.1:9/v1", "Sum"))
    await fleet.start()
    rollouts = await fleet.run_group(fleet.plan(row("sum", "sum 2 3", expected=5), endpoints=[base_url]))
    await fleet.close()
    assert [one.outcome for one in rollouts] == [Outcome.SCORED] * 4
