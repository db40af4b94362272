"""Real processes of real runs killed with SIGKILL at random moments: each key exactly once, all the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gym_ray.collect.index import scan
from gym_ray.collect.rundir import RunDir
from tests.e2e.conftest import ENVS, rows
from tests.support.endpoint import EndpointProcess
from tests.support.processes import kill, kill_tree, named, wait_for
from tests.support.runs import check_exactly_once

pytestmark = [pytest.mark.ray, pytest.mark.chaos]
ROOT = Path(__file__).parents[2]
TASKS, GROUP = 60, 4
AGENT, RESOURCES, REPLICA = "ray::MapWorker", "ray::ResourcesActor", "ray::ServeReplica"


class Run:
    """A collection as a user starts it, in a process group of its own."""

    def __init__(self, tmp_path: Path, *overrides: str) -> None:
        self.directory = tmp_path / "run"
        tasks = tmp_path / "tasks.jsonl"
        tasks.write_text("".join(json.dumps(row) + "\n" for row in rows(["bump 2"] * TASKS, bumps=2)))
        self.command = [sys.executable, "-m", "gym_ray.cli.main", "collect", f"env={ENVS}:Counter"]
        self.command += [f"tasks={tasks}", f"run_dir={self.directory}", f"collect.rollouts_per_task={GROUP}"]
        self.command += ["collect.agent_cpus=0.1", "collect.in_flight=64", *overrides]
        self.log = tmp_path / "log.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Run:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": "/tmp"}
        env.pop("RAY_ADDRESS", None)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            kill_tree(self.process.pid)
            self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def finish(self, timeout_s: float = 240) -> None:
        """Wait for the end; it must be a good one."""
        assert self.process is not None
        code = self.process.wait(timeout_s)
        assert code == 0, f"exit {code}:\n{self.log.read_text()[-4000:]}"

    def finished(self) -> dict[int, str]:
        """Key -> response id of everything durable now."""
        index = scan(RunDir(str(self.directory)))
        return {int(key): _response_id(index, int(key)) for key in index.done.keys}

    def wait_until_rolling(self, rollouts: int = 1) -> None:
        """Until some rollouts are durable."""

        def rolling() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            return len(self.finished()) >= rollouts

        wait_for(rolling, 120, f"{rollouts} rollouts")


def _response_id(index: Any, key: int) -> str:
    payload = index.payload(key >> 24, key & (1 << 24) - 1)
    assert payload is not None
    return payload.hex()


@contextmanager
def endpoint() -> Iterator[list[str]]:
    """Overrides that point a run to a scripted endpoint."""
    with EndpointProcess("tests.support.scripts:play", latency=0.15) as base_url:
        yield ["model=openai", f"model.base_url={base_url}", "model.name=scripted"]


def kept(run: Run, before: dict[int, str]) -> None:
    """What was durable at a kill is in the end exactly what it was."""
    after = run.finished()
    assert {key: after.get(key) for key in before} == before


def test_the_driver_dies_and_the_run_is_resumed(tmp_path: Path) -> None:
    dice = random.Random(1)
    durable: dict[int, str] = {}
    with endpoint() as model:
        for _ in range(3):
            with Run(tmp_path, *model) as run:
                run.wait_until_rolling(len(durable) + 1)
                time.sleep(dice.uniform(0.0, 0.5))
                kill(run.pid)
                durable |= run.finished()
                assert len(durable) < TASKS * GROUP
        with Run(tmp_path, *model) as run:
            run.finish()
            kept(run, durable)
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
        kept(run, durable)
    got = check_exactly_once(run.directory, TASKS, GROUP)
    assert [row["reward"] for row in got] == [1.0] * (TASKS * GROUP)
