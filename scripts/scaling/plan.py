"""Tasks: what planning them costs the driver, once per run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gym_ray.collect.config import TasksConfig
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.tasks.plan import write_plan
from gym_ray.resources.load import load_server
from scaling import runs
from scaling.curve import Curve, cpu_of


def measure(quick: bool) -> list[Curve]:
    """The real plan of 1,000 to 300,000 tasks of mcqa."""
    curve = Curve("plan", "the real planning of so many tasks of 700 bytes", "tasks", ["CPU-s", "us per task"])
    for tasks in (1_000, 4_000) if quick else (10_000, 30_000, 100_000, 300_000):
        with tempfile.TemporaryDirectory(prefix="scale") as folder:
            used = _one(Path(folder), tasks)
        curve.add(tasks, used, 1e6 * used / tasks)
    return [curve]


def _one(folder: Path, tasks: int) -> float:
    path = folder / "tasks.jsonl"
    with path.open("wb") as file:
        file.writelines(runs.task_row(number) + b"\n" for number in range(tasks))
    config = runs.config(folder / "run", rollouts_per_task=8)
    config = config.model_copy(update={"tasks": TasksConfig(path=str(path))})
    servers = {"mcqa": load_server(runs.SERVER)}
    run = RunDir.create(config.run_dir)
    return cpu_of(lambda: write_plan(run, config, servers))
