"""Real processes of real runs killed with SIGKILL at random moments: each key exactly once, all the same."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.command import GROUP, TASKS, Run, check_kept
from tests.support.endpoint import EndpointProcess
from tests.support.processes import kill, named
from tests.support.runs import check_exactly_once

pytestmark = [pytest.mark.ray, pytest.mark.chaos]
AGENT, RESOURCES, REPLICA = "ray::MapWorker", "ray::ResourcesActor", "ray::ServeReplica"


@contextmanager
def endpoint() -> Iterator[list[str]]:
    """Overrides that point a run to a scripted endpoint."""
    with EndpointProcess("tests.support.scripts:play", latency=0.15) as base_url:
        yield ["model=openai", f"model.base_url={base_url}", "model.name=scripted"]


def test_the_driver_dies_and_the_run_is_resumed(tmp_path: Path) -> None:
    dice = random.Random(1)
    durable: dict[int, str] = {}
    with endpoint() as model:
        model.append("collect.in_flight=12")
        for _ in range(3):
            with Run(tmp_path, *model) as run:
                run.wait_until_rolling(len(durable) + 1)
                time.sleep(dice.uniform(0.0, 0.5))
                kill(run.pid)
                durable |= run.finished()
                assert len(durable) < TASKS * GROUP
        with Run(tmp_path, *model) as run:
            run.finish()
            check_kept(run, durable)
    got = check_exactly_once(run.directory, TASKS, GROUP)
    assert [row["reward"] for row in got] == [1.0] * (TASKS * GROUP)


@pytest.mark.parametrize("victim", [AGENT, RESOURCES])
def test_an_actor_dies_and_the_run_goes_on(tmp_path: Path, victim: str) -> None:
    dice = random.Random(2)
    durable: dict[int, str] = {}
    with endpoint() as model, Run(tmp_path, *model, "collect.in_flight=16") as run:
        for share in (0.05, 0.3, 0.55):
            run.wait_until_rolling(int(share * TASKS * GROUP))
            time.sleep(dice.uniform(0.0, 0.3))
            durable |= run.finished()
            victims = named(run.pid, victim)
            assert victims, f"no process called {victim}"
            kill(victims[0])
        run.finish()
        check_kept(run, durable)
    got = check_exactly_once(run.directory, TASKS, GROUP)
    assert [row["reward"] for row in got] == [1.0] * (TASKS * GROUP)


def test_a_model_replica_dies_and_the_run_goes_on(tmp_path: Path) -> None:
    overrides = [
        "model=vllm",
        "model.name=scripted",
        "model.serve.path=none",
        "model.serve.engine=tests.support.engine:BumpTwice",
        "model.serve.num_replicas=2",
        "model.serve.num_cpus=0.1",
        "model.serve.num_gpus=0",
        "collect.in_flight=16",
    ]
    durable: dict[int, str] = {}
    with Run(tmp_path, *overrides) as run:
        for share in (0.05, 0.4):
            run.wait_until_rolling(int(share * TASKS * GROUP))
            durable |= run.finished()
            victims = named(run.pid, REPLICA)
            assert victims, f"no process called {REPLICA}"
            kill(victims[0])
        run.finish()
        check_kept(run, durable)
    got = check_exactly_once(run.directory, TASKS, GROUP)
    assert [row["reward"] for row in got] == [1.0] * (TASKS * GROUP)
