"""Agent workers that come with work and go without it, on a real Ray."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gym_ray.collect.config import RunConfig
from tests.e2e.conftest import make_config, rows  # noqa: F401
from tests.support.endpoint import EndpointProcess
from tests.support.runs import check_exactly_once

pytestmark = [pytest.mark.ray, pytest.mark.cluster]
SHORT, LONG = 200, 24


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    import ray

    ray.init(
        num_cpus=8, include_dashboard=False, object_store_memory=200_000_000, log_to_driver=False, logging_level="error"
    )
    yield
    ray.shutdown()


def test_workers_come_with_a_backlog_and_go_without(make_config: Any) -> None:  # noqa: F811
    from gym_ray.collect.driver import collect

    bumps = [1] * SHORT + [LONG]
    tasks = [
        {**row, "bumps": count} for count, row in zip(bumps, rows(f"bump {count}" for count in bumps), strict=True)
    ]
    with EndpointProcess("tests.support.scripts:play", latency=0.3) as base_url:
        envs = {"counter": ("Counter", tasks)}
        config: RunConfig = make_config(
            base_url, envs, num_agents=1, max_agents=3, in_flight=2, block_rollouts=1, agent_cpus=0.5
        )
        with _Census() as census:
            collect(config)
    got = check_exactly_once(Path(config.run_dir), SHORT + 1, 1)
    assert {row["reward"] for row in got} == {1.0}
    assert max(census.alive) == 3, census.alive
    most = census.alive.index(3)
    assert census.alive[0] == 1, census.alive
    assert min(census.alive[most:-1]) == 1, "while the last rollout went on, the others were let go"
    assert census.killed


class _Census:
    """Counts live agent workers while its block runs, and kills one of three, once."""

    def __init__(self) -> None:
        self.alive: list[int] = []
        self.killed = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)

    def __enter__(self) -> _Census:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _count(self) -> None:
        from ray._private.state import actors

        while not self._ended.wait(0.25):
            states = [one for one in actors().values() if "BlockWorker" in one["ActorClassName"]]
            alive = [one for one in states if one["State"] == "ALIVE"]
            if alive or self.alive:
                self.alive.append(len(alive))
            if len(alive) == 3 and not self.killed:
                self.killed = int(alive[-1]["Pid"])
                os.kill(self.killed, signal.SIGKILL)
