"""The live service on a real Ray: what a trainer submits comes back once, whatever happens in between."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from gym_ray.collect.config import RunConfig, TasksConfig
from gym_ray.collect.journal.index import scan
from gym_ray.collect.rundir import RunDir
from gym_ray.service.client import NAMESPACE, Group, connect, start
from gym_ray.service.config import ServiceConfig
from gym_ray.service.curriculum import CurriculumConfig
from gym_ray.types.errors import UserError
from tests.support.endpoint import EndpointProcess

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
MakeConfig = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with EndpointProcess("tests.service.scripts:guess", latency=0.05) as url:
        yield url


def task(number: int, chance: int = 100) -> dict[str, Any]:
    return {
        "task_id": f"t{number}",
        "responses_create_params": {"input": f"sum {number} 1 {chance}"},
        "expected": number + 1,
    }


def names(groups: list[Group]) -> list[str]:
    return [group.rollouts[0].task_id for group in groups]


def test_groups_come_back_once_though_trainer_and_service_die(make_config: MakeConfig, base_url: str) -> None:
    config = make_config(base_url, "Sum")
    rollouts = start(config, ServiceConfig(open_groups=8), name="deaths")
    with pytest.raises(UserError, match="row 2 of 2: expected"):
        rollouts.submit([task(0), {**task(1), "expected": "many"}])
    ids = rollouts.submit([task(number) for number in range(20)], key="step 1")
    first = rollouts.take(6)
    assert [group.cursor for group in first] == [1, 2, 3, 4, 5, 6]
    assert all(len(group.rollouts) == 4 and group.pass_rate == 1.0 for group in first)
    rollouts.acknowledge(first[3].cursor)
    # The trainer dies: two groups were taken, and no checkpoint knows of them. So does the service.
    ray.kill(ray.get_actor("deaths", namespace=NAMESPACE), no_restart=False)
    again = connect("deaths", cursor=4)
    assert again.submit([task(number) for number in range(20)], key="step 1") == ids
    status = again.status()
    assert (status.submitted, status.delivered) == (20, 4)
    assert status.accounted == 20
    second = again.take(6)
    assert [group.id for group in second[:2]] == [group.id for group in first[4:]]
    assert [group.rollouts for group in second[:2]] == [group.rollouts for group in first[4:]]
    rest = list(again)
    assert sorted(group.id for group in [*first[:4], *second, *rest]) == ids
    again.acknowledge()
    status = again.status()
    assert (status.delivered, status.accounted, status.in_flight) == (20, 20, 0)
    again.close()
    assert scan(RunDir(config.run_dir)).duplicates == 0
    assert not list(Path(config.run_dir).glob("service/rows-*")), "rows go with their last group"


def test_what_is_too_old_is_made_again_and_a_paused_service_begins_nothing(
    make_config: MakeConfig, base_url: str
) -> None:
    rollouts = start(make_config(base_url, "Sum"), ServiceConfig(open_groups=4, max_policy_age=1), name="ages")
    rollouts.submit([task(number) for number in range(6)])
    assert [group.age for group in rollouts.take(2)] == [0, 0]
    rollouts.drain()
    before = rollouts.status()
    assert (before.handed, before.rolling, before.in_flight, before.paused) == (2, 0, 0, True)
    assert before.ready + before.queued == 4
    assert rollouts.status() == before
    rollouts.resume(version=1)
    assert [group.age for group in rollouts.take(1)] == [1]
    rollouts.resume(version=3)
    late = [*rollouts]
    assert all(group.age == 0 and group.oldest == 3 for group in late)
    after = rollouts.status()
    assert len(late) == 3
    assert after.rerolled == sum(group.rerolls for group in late) > 0
    assert after.accounted == after.submitted == 6
    rollouts.close()


def test_tasks_are_drawn_and_groups_without_variance_are_dropped_and_counted(
    make_config: MakeConfig, base_url: str, tmp_path: Path
) -> None:
    files = tmp_path / "tasks.jsonl"
    files.write_text("".join(json.dumps(task(number, chance)) + "\n" for number, chance in enumerate([0, 50, 100] * 4)))
    config = make_config(base_url, "Sum").model_copy(update={"tasks": TasksConfig(path=str(files))})
    curriculum = CurriculumConfig(drop_zero_variance=True, sampler="gaussian", start=0.5, end=0.5)
    rollouts = start(config, ServiceConfig(open_groups=8, draw_tasks=True, curriculum=curriculum), name="drawn")
    groups = rollouts.take(8) + rollouts.take(8)
    for group in groups:
        assert len({one.reward.value for one in group.rollouts if one.reward}) == 2
    assert {int(name[1:]) % 3 for name in names(groups)} == {1}
    rollouts.acknowledge(groups[7].cursor)
    status = rollouts.status()
    assert status.dropped.keys() == {"zero_variance"}
    assert status.delivered == 8
    assert status.accounted == status.submitted
    rollouts.close()
    state = json.loads(Path(config.run_dir, "service/state.json").read_text())
    assert state["pool"][2] == {"sum": state["ledger"]["submitted"]}
    files.write_text(json.dumps(task(99)) + "\n")
    with pytest.raises(UserError, match="appended, not changed"):
        start(config, ServiceConfig(draw_tasks=True), name="drawn")
