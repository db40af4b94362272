"""The driver under Ray Data: CPU per block with so many blocks in flight on so many workers that only wait."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from unittest import mock

import pyarrow as pa
from pyarrow import parquet as pq

from gym_ray.collect import pipeline
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.worker import WorkerSetup
from scaling import runs
from scaling.curve import Curve, resident

RATE = 40.0
"""Blocks per second that end."""
GROUP = 64


class Sleeper:
    """In place of an agent worker: a block takes its time, and costs nothing."""

    def __init__(self, setup: WorkerSetup) -> None:
        agents = setup.config.collect.num_agents
        self._mean_s = agents * pipeline.MAX_CALLS / RATE

    def __call__(self, block: pa.Table) -> pa.Table:
        """Like ``BlockWorker``."""
        time.sleep(random.uniform(0.5, 1.5) * self._mean_s)
        rollouts = sum(block["rollouts"].to_pylist())
        return pa.table({"finished": [rollouts], "known": [0], "skipped": [0], "error": [""]})


def measure(quick: bool) -> list[Curve]:
    """The real pipeline on a real Ray, with simulated workers."""
    curve = Curve(
        "blocks",
        f"the real pipeline on Ray Data, workers that sleep, {pipeline.MAX_CALLS} blocks at once each, {RATE:g}/s",
        "workers",
        ["blocks in flight", "driver CPU-ms per block", "driver MiB", "blocks/s at one core"],
    )
    for workers in (2,) if quick else (1, 2, 4, 8, 16):
        with tempfile.TemporaryDirectory(prefix="scale") as folder:
            curve.add(workers, *_one(Path(folder), workers))
    return [curve]


def _one(folder: Path, workers: int) -> tuple[float, ...]:
    blocks = 2 * workers * pipeline.MAX_CALLS
    config = runs.config(folder / "run", rollouts_per_task=GROUP, num_agents=workers, agent_cpus=0.01)
    run = RunDir.create(config.run_dir)
    columns = {
        "task_number": range(blocks),
        "task_id": [f"task-{number}" for number in range(blocks)],
        "environment": ["mcqa"] * blocks,
        "first_index": [0] * blocks,
        "rollouts": [GROUP] * blocks,
        "row": [runs.task_row(number) for number in range(blocks)],
    }
    pq.write_table(pa.table(columns), folder / "plan.parquet")
    setup = WorkerSetup(run.address, config)
    with mock.patch.object(pipeline, "BlockWorker", Sleeper):
        receipts, cpu = 0, 0.0
        for _ in pipeline.run_blocks([str(folder / "plan.parquet")], run.filesystem, blocks, setup):
            receipts += 1
            if receipts == 1:
                # Workers and their first blocks are there: what follows is the steady state.
                cpu = time.process_time()
        used = time.process_time() - cpu
    per_block = 1000 * used / (receipts - 1)
    return min(blocks, workers * pipeline.MAX_CALLS), per_block, resident() / 2**20, 1000 / per_block
