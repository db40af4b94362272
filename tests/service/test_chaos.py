"""Trainer, service, agent worker and model replica are each killed once in the middle of a step.

Real processes, real SIGKILLs: no group is lost or trained on twice, and the staleness bound holds throughout.
"""

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
import torch
from safetensors.torch import save_file

from gym_ray.collect.journal.index import scan
from gym_ray.collect.rundir import RunDir
from gym_ray.service.client import connect
from tests.service.trainer import AGE, BATCH, STEPS, trained
from tests.support.processes import kill, named, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
VICTIMS = {"service": "ray::RolloutService", "agent worker": "ray::Hand", "model replica": "ray::ServeReplica"}


class Training:
    """The trainer's process, which can be killed and started again."""

    def __init__(self, folder: Path, address: str) -> None:
        self._settings, self.log = folder / "settings.json", folder / "trainer.log"
        self.checkpoint, self.run = folder / "trained.jsonl", folder / "run"
        weights = folder / "weights"
        weights.mkdir()
        save_file({"a": torch.zeros(2)}, weights / "model.safetensors")
        serve = {"engine": "tests.service.engine:Adder", "path": str(weights), "num_replicas": 2, "num_cpus": 0.1}
        run = {
            "run_dir": str(self.run),
            "envs": {"sum": {"server": f"{ROOT}/tests/support/envs.py:Sum"}},
            "model": {"kind": "vllm", "name": "adder", "serve": serve},
            "collect": {"num_agents": 2, "agent_cpus": 0.1, "rollouts_per_task": 4, "in_flight": 32},
        }
        files = {"checkpoint": str(self.checkpoint), "weights": str(weights), "address": address, "run": run}
        self._settings.write_text(json.dumps(files))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "tests.service.trainer", str(self._settings)]
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ})

    def kill(self) -> None:
        assert self._process is not None
        kill(self._process.pid)
        self._process.wait()

    def wait_for_steps(self, steps: int) -> None:
        """Until so many steps are in the checkpoint."""

        def there() -> bool:
            assert self._process is not None
            assert self._process.poll() in (None, 0), self.log.read_text()[-4000:]
            return len(trained(self.checkpoint)) >= steps * BATCH

        wait_for(there, 240, f"{steps} steps")

    def finish(self) -> None:
        assert self._process is not None
        assert self._process.wait(240) == 0, self.log.read_text()[-4000:]


@contextmanager
def training(folder: Path, address: str) -> Iterator[Training]:
    one = Training(folder, address)
    one.start()
    try:
        yield one
    finally:
        one.kill()


def test_each_process_is_killed_once_and_every_group_is_trained_on_once(
    ray_cluster: dict[str, Any], tmp_path: Path
) -> None:
    dice = random.Random(5)
    with training(tmp_path, ray_cluster["address"]) as run:
        for step, name in zip((3, 8, 13), VICTIMS, strict=True):
            run.wait_for_steps(step)
            time.sleep(dice.uniform(0.0, 0.4))
            victims = named(os.getpid(), VICTIMS[name])
            assert victims, f"no {name}"
            kill(victims[0])
        for step in (17, 20):  # Twice: one of them hits between taking and writing the checkpoint.
            run.wait_for_steps(step)
            time.sleep(dice.uniform(0.1, 0.4))
            run.kill()
            run.start()
        run.finish()
    groups = trained(run.checkpoint)
    assert sorted(group["id"] for group in groups) == list(range(BATCH * STEPS)), "each group once"
    assert sorted(int(group["task"][1:]) for group in groups) == list(range(BATCH * STEPS))
    assert [group["cursor"] for group in groups] == sorted({group["cursor"] for group in groups})
    assert all(group["rewards"] == [1.0] * 4 for group in groups)
    assert max(group["age"] for group in groups) <= AGE
    assert min(group["newest"] for group in groups[-BATCH:]) >= STEPS - 1 - AGE, "the weights did change"
    rollouts = connect()
    status = rollouts.status()
    assert (status.delivered, status.accounted, status.submitted) == (BATCH * STEPS,) * 3
    rollouts.close()
    index = scan(RunDir(str(run.run)))
    print(
        f"{len(groups)} groups, versions to {status.version}, {status.rerolled} made again, {index.duplicates} doubled"
    )
    assert index.duplicates == 0
