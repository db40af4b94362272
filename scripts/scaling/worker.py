"""One agent worker: memory, CPU and stalls with so many rollouts in flight, over real sockets to a mock endpoint."""

from __future__ import annotations

import gc
import multiprocessing
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmark.endpoint import endpoint
from benchmark.mock import Script

from gym_ray.collect.pipeline import block_tasks, concurrent_blocks
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.tally import Tally
from gym_ray.collect.worker import AgentWorker, PlannedTask, WorkerSetup
from scaling import runs
from scaling.curve import Curve, cpu_of, resident

RATE = 300.0
"""Rollouts per second, whatever is in flight: what is measured is the number in flight, not the speed."""
GROUP = 8


class Board:
    """Takes the worker's reports in place of the actor."""

    def __init__(self) -> None:
        self.report = self
        self.in_flight, self.lag_ms = 0, 0.0

    async def _pin(self, tally: Tally) -> bool:
        self.in_flight = max(self.in_flight, tally.in_flight)
        self.lag_ms = max(self.lag_ms, tally.lag_ms)
        return False

    def remote(self, worker: str, incarnation: str, tally: Tally) -> Any:
        """One report."""
        return self._pin(tally)


def measure(quick: bool) -> list[Curve]:
    """The real agent worker with 100 to 8,000 rollouts in flight."""
    curve = Curve(
        "worker",
        f"the real agent worker and a mock endpoint, one turn, {RATE:g} rollouts/s",
        "in flight",
        ["reached", "CPU-ms per rollout", "MiB", "KiB per rollout in flight", "collector pass ms", "worst stall ms"],
    )
    base = 0.0
    for in_flight in (100, 1000) if quick else (100, 1000, 2000, 4000, 8000):
        # A process of its own, so that none inherits the memory of the one before.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            reached, cpu_ms, peak, walk, lag = pool.submit(_one, in_flight).result(timeout=300)
        base = base or peak
        each = 1024 * (peak - base) / (in_flight - curve.rows[0][0]) if curve.rows else float("nan")
        curve.add(in_flight, reached, cpu_ms, peak, each, walk, lag)
    return [curve]


def _one(in_flight: int) -> tuple[float, ...]:
    latency, board, stop, peak, walks = in_flight / RATE, Board(), threading.Event(), [0], list[float]()

    def watch() -> None:
        while not stop.wait(0.2):
            peak[0] = max(peak[0], resident())
            if not walks and board.in_flight >= 0.98 * in_flight:
                walks.append(0.0)
                worker._loop.call_soon_threadsafe(lambda: walks.append(cpu_of(gc.collect)))

    with tempfile.TemporaryDirectory(prefix="scale") as folder, endpoint(Script(latency=latency)) as mock:
        config = runs.config(
            Path(folder) / "run", mock.base_url, in_flight=in_flight, rollouts_per_task=GROUP, num_agents=1
        )
        RunDir.create(config.run_dir)
        worker = AgentWorker(WorkerSetup(config.run_dir, config, board=board), "sim")
        tasks = [
            PlannedTask(number, f"task-{number}", "mcqa", 0, GROUP, runs.task_row(number))
            for number in range(max(600, 2 * in_flight) // GROUP)
        ]
        size = block_tasks(config.collect, len(tasks))
        blocks = [tasks[at : at + size] for at in range(0, len(tasks), size)]
        threading.Thread(target=watch, daemon=True).start()
        began = time.process_time()
        with ThreadPoolExecutor(concurrent_blocks(config.collect, size)) as calls:
            finished = sum(receipt.finished for receipt in calls.map(worker.run, blocks))
        used = time.process_time() - began
        stop.set()
        worker.close()
        reached = mock.stats()["max_in_flight"]
    if finished != len(tasks) * GROUP:
        raise RuntimeError(f"{finished} of {len(tasks) * GROUP} rollouts finished")
    return reached, 1000 * used / finished, peak[0] / 2**20, 1000 * max(walks, default=0.0), board.lag_ms
