"""Replicas on a real Ray cluster: started, found, killed, replaced, refused."""

from __future__ import annotations

import asyncio
import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gym_ray.models.config import ModelConfig, ServeConfig
from gym_ray.models.protocol import ModelRequest
from gym_ray.models.turn import TurnModel
from gym_ray.types.errors import UserError
from gym_ray.types.items import item_text, user_message
from tests.support.processes import kill, named, wait_for

pytestmark = pytest.mark.ray
SCRIPTED = "tests.models.serve.scripted:ScriptedModel"


def scripted(**settings: Any) -> ModelConfig:
    settings = {"engine": SCRIPTED, "num_cpus": 0.1, "startup_timeout_s": 60.0} | settings
    return ModelConfig(kind="vllm", name="scripted", timeout_s=60.0, serve=ServeConfig(**settings))


@pytest.fixture(scope="module")
def two_replicas(ray_cluster: Any) -> Iterator[Any]:
    from gym_ray.models.serve.deployment import deploy, undeploy

    yield deploy(scripted(num_replicas=2), "pair")
    undeploy("pair")


async def respond(endpoints: Any, session: str = "s") -> str:
    model = TurnModel(scripted(), endpoints)
    try:
        reply = await model.respond(ModelRequest({}, [user_message("hello")], session))
    finally:
        await model.close()
    return item_text(reply.items[0])


async def listed(endpoints: Any, many: int) -> list[str]:
    """The endpoints, once there are so many."""
    await asyncio.to_thread(wait_for, lambda: len(endpoints.list()) == many, 60, f"{many} replicas are listed")
    return await endpoints()


async def test_endpoints_list_the_replicas_from_any_loop(two_replicas: Any) -> None:
    carried = pickle.loads(pickle.dumps(two_replicas))
    bases = await carried()
    assert len(set(bases)) == 2
    assert all(base.startswith("http://127.0.0.1:") for base in bases)
    assert await asyncio.to_thread(lambda: asyncio.run(carried())) == bases
    assert await respond(carried) == "ok"


async def test_a_killed_replica_leaves_the_list_and_another_comes(two_replicas: Any) -> None:
    before = await two_replicas()
    kill(named(os.getpid(), "ServeReplica:pair")[0])
    killed = time.monotonic()
    left = await listed(two_replicas, 1)
    assert time.monotonic() - killed < 20, "no heartbeat is waited for"
    answers = await asyncio.gather(*(respond(two_replicas, f"s{number}") for number in range(8)))
    assert answers == ["ok"] * 8
    assert set(before) & set(await listed(two_replicas, 2)) == set(left)


async def test_undeploying_lets_calls_in_flight_end(ray_cluster: Any) -> None:
    from gym_ray.models.serve import deployment

    endpoints = deployment.deploy(scripted(engine_args={"latency_s": 2.0}), "leaving")
    call = asyncio.create_task(respond(endpoints))
    await asyncio.sleep(1.0)
    began = time.monotonic()
    await asyncio.to_thread(deployment.undeploy, "leaving")
    assert await call == "ok"
    assert time.monotonic() - began < deployment.GRACE_S
    assert await endpoints() == []


async def test_a_sick_replica_is_off_the_list_until_it_is_well(ray_cluster: Any, tmp_path: Path) -> None:
    from gym_ray.models.serve.deployment import deploy, undeploy

    sick = tmp_path / "sick"
    endpoints = deploy(scripted(engine_args={"sick": str(sick)}), "frail")
    assert len(await endpoints()) == 1
    sick.touch()
    await listed(endpoints, 0)
    sick.unlink()
    await listed(endpoints, 1)
    assert await respond(endpoints) == "ok"
    await asyncio.to_thread(undeploy, "frail")


def test_an_engine_that_does_not_start_says_why(ray_cluster: Any) -> None:
    from gym_ray.models.serve.deployment import deploy

    with pytest.raises(UserError, match="no weights here"):
        deploy(scripted(engine_args={"fail": "no weights here"}), "broken")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"path": "package://gym_ray.models.tiny/nothing"}, "nothing"),
        ({"path": "package://no_such_package/weights"}, "no_such_package"),
        ({"engine": "gym_ray.models.serve.policy:Engin"}, "Engin"),
        ({"engine": "gym_ray.models.serve.vllm_engine:VllmEngine"}, "model.serve.path"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_starts(settings: Any, words: str) -> None:
    from gym_ray.models.serve.deployment import deploy

    with pytest.raises(UserError, match=words):
        deploy(scripted(**settings), "refused")


async def test_an_engine_without_live_weights_says_so(two_replicas: Any) -> None:
    from gym_ray.models.serve.control import ModelControl

    with pytest.raises(UserError, match="cannot change"):
        await asyncio.to_thread(ModelControl("pair").update_weights, path="/tmp")
    with pytest.raises(UserError, match="cannot change"):
        await asyncio.to_thread(ModelControl("pair").pause)


def test_gpus_that_are_not_there_are_not_waited_for(ray_cluster: Any) -> None:
    from gym_ray.models.serve.deployment import deploy

    with pytest.raises(UserError, match=r"wants 4 GPU\(s\), this machine has 0"):
        deploy(scripted(num_gpus=1, num_replicas=2, engine_args={"tensor_parallel_size": 2}), "greedy")


def test_placement_of_one_node_and_of_many() -> None:
    from gym_ray.models.serve.deployment import placement

    one = placement(ServeConfig(num_gpus=1, num_cpus=2, engine_args={"tensor_parallel_size": 4}))
    assert one["ray_actor_options"]["num_gpus"] == 4
    assert "placement_group_bundles" not in one
    many = placement(ServeConfig(num_gpus=1, engine_args={"tensor_parallel_size": 2, "pipeline_parallel_size": 2}))
    assert [bundle["GPU"] for bundle in many["placement_group_bundles"]] == [1, 1, 1, 1]
    assert many["placement_group_bundles"][0]["CPU"] == 2
    assert "num_gpus" not in many["ray_actor_options"]
