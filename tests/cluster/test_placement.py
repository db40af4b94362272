"""Who lands where on a cluster of several nodes, and replicas that come with calls and go without."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gym_ray.collect.config import RunConfig
from gym_ray.models.config import ModelConfig, ServeConfig
from gym_ray.models.protocol import ModelRequest
from gym_ray.models.turn import TurnModel
from gym_ray.types.errors import UserError
from gym_ray.types.items import user_message
from tests.support.processes import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.cluster]
SCRIPTED = "tests.models.serve.scripted:ScriptedModel"
POOLS = ("policy", "agents", "sandbox")


def scripted(**settings: Any) -> ModelConfig:
    settings = {"engine": SCRIPTED, "num_cpus": 0.1, "startup_timeout_s": 120.0} | settings
    return ModelConfig(kind="vllm", name="scripted", timeout_s=60.0, serve=ServeConfig(**settings))


@pytest.fixture(scope="module")
def nodes() -> Iterator[dict[str, str]]:
    """A head without CPUs and a node for each pool: node id -> pool."""
    import ray
    from ray.cluster_utils import Cluster

    quiet = {"include_dashboard": False, "object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **quiet})
    for pool in POOLS:
        more = {"resources": {"sandbox": 8}} if pool == "sandbox" else {}
        cluster.add_node(num_cpus=4, labels={"pool": pool}, object_store_memory=100_000_000, **more)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="warning")
    yield {node["NodeID"]: node["Labels"]["pool"] for node in ray.nodes() if "pool" in node["Labels"]}
    ray.shutdown()
    cluster.shutdown()


def test_every_kind_of_work_lands_in_its_pool(nodes: dict[str, str], tmp_path: Path) -> None:
    from gym_ray.collect.driver import collect

    tasks = tmp_path / "tasks.jsonl"
    rows = (
        {"task_id": f"t{number}", "responses_create_params": {"input": "bump 2"}, "bumps": 2} for number in range(8)
    )
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    environment = {
        "server": "tests/support/envs.py:Counter",
        "tasks": str(tasks),
        "num_actors": 2,
        "placement": "actor",
    }
    config = RunConfig.model_validate(
        {
            "run_dir": str(tmp_path / "run"),
            "envs": {"counter": {**environment, "resources": {"sandbox": 1}, "labels": {"pool": "sandbox"}}},
            "model": scripted(num_replicas=2, labels={"pool": "policy"}, engine_args={"latency_s": 0.3}).model_dump(),
            "collect": {"agent_cpus": 0.1, "num_agents": 2, "agent_labels": {"pool": "agents"}},
        }
    )
    seen: set[tuple[str, str]] = set()
    with _watching(seen):
        summary = collect(config)
    assert summary.failed_fraction == 0.0
    where = {kind: {nodes.get(node, "head") for name, node in seen if kind in name} for kind in KINDS}
    pools = {"BlockWorker": {"agents"}, "ResourcesActor": {"sandbox"}, "ServeReplica": {"policy"}}
    assert where == {**pools, "Board": {"head"}}, "the board is where the driver is"


KINDS = ("BlockWorker", "ResourcesActor", "ServeReplica", "Board")


class _watching:
    """Notes (actor class, node id) of every live actor while its block runs."""

    def __init__(self, seen: set[tuple[str, str]]) -> None:
        self._seen, self._ended = seen, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        from ray._private.state import actors

        while not self._ended.wait(0.2):
            for actor in actors().values():
                if actor["State"] == "ALIVE":
                    self._seen.add((actor["ActorClassName"], actor["Address"]["NodeID"]))


async def test_replicas_come_with_calls_and_go_without(nodes: dict[str, str]) -> None:
    from gym_ray.models.serve.deployment import deploy, undeploy

    config = scripted(max_replicas=2, calls_per_replica=2, shrink_after_s=1.0, engine_args={"latency_s": 60.0})
    endpoints = await asyncio.to_thread(deploy, config, "elastic")
    try:
        assert len(endpoints.list()) == 1
        model = TurnModel(config, endpoints)
        calls = [
            asyncio.create_task(model.respond(ModelRequest({}, [user_message("x")], f"s{number}")))
            for number in range(6)
        ]
        await asyncio.to_thread(wait_for, lambda: len(endpoints.list()) == 2, 60, "a second replica")
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await model.close()
        await asyncio.to_thread(wait_for, lambda: len(endpoints.list()) == 1, 90, "one replica")
    finally:
        await asyncio.to_thread(undeploy, "elastic")


def test_a_configuration_file_deploys_the_model(nodes: dict[str, str]) -> None:
    from ray import serve

    from gym_ray.models.serve.application import NAME, build
    from gym_ray.models.serve.deployment import undeploy
    from gym_ray.models.serve.endpoints import Endpoints

    serve.run(build(scripted().model_dump(mode="json", exclude_defaults=True)), name=NAME, route_prefix=None)
    wait_for(lambda: len(Endpoints(NAME).list()) == 1, 30, "a replica")
    undeploy(NAME)
    with pytest.raises(UserError, match=r"serve\.num_replica"):
        build({"kind": "vllm", "serve": {"num_replica": 2}})
