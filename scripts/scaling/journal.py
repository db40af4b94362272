"""Resuming: what the journal of so many rollouts costs to read, once for the run and again in every worker."""

from __future__ import annotations

import pickle
import shutil
import tempfile
import time
import tracemalloc
from pathlib import Path

from gym_ray.collect.journal.index import JournalIndex, scan
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.worker import AgentWorker, WorkerSetup
from scaling import runs
from scaling.curve import Curve, cpu_of

SEGMENTS = 1000
WORKERS = 1000


def measure(quick: bool) -> list[Curve]:
    """The real scan and the real start of an agent worker over journals of 1,000 workers."""
    resume = Curve(
        "resume",
        f"journals of {SEGMENTS:,} killed workers, {runs.PAYLOAD:,} B per record, all in the page cache",
        "rollouts",
        ["scan CPU-s", "index B/rollout", "peak B/rollout", "CPU-s per worker start", f"CPU-h of {WORKERS:,} starts"],
    )
    for rollouts in (8_000, 40_000) if quick else (10_000, 100_000, 300_000, 1_000_000, 2_000_000):
        with tempfile.TemporaryDirectory(prefix="scale") as folder:
            resume.add(rollouts, *_one(Path(folder), rollouts))
    return [resume]


def _one(folder: Path, rollouts: int) -> tuple[float, ...]:
    run = RunDir.create(str(folder / "run"))
    runs.write_journal(run, SEGMENTS, rollouts, closed=False)
    found: list[JournalIndex] = []
    scanned = cpu_of(lambda: found.append(scan(run)))
    index = found[0]
    held = index.done.keys.nbytes + index.done.where.nbytes
    peak = _peak(run) if rollouts <= 300_000 else float("nan")
    start = _start_of_a_worker(run, index)
    shutil.rmtree(folder, ignore_errors=True)
    return scanned, held / rollouts, peak / rollouts, start, WORKERS * start / 3600


def _peak(run: RunDir) -> float:
    tracemalloc.start()
    scan(run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(peak)


def _start_of_a_worker(run: RunDir, index: JournalIndex) -> float:
    """CPU seconds from making an agent worker to its being ready to work, beyond those on an empty journal."""
    empty = RunDir.create(run.address + "-empty")
    _opened(WorkerSetup(empty.address, runs.config(Path(empty.address))))
    base = _opened(WorkerSetup(empty.address, runs.config(Path(empty.address))))
    return max(0.0, _opened(_setup(run, index)) - base)


def _setup(run: RunDir, index: JournalIndex) -> WorkerSetup:
    # As Ray's object store hands it over: the arrays are mapped, the rest is unpickled.
    buffers: list[pickle.PickleBuffer] = []
    shared = pickle.dumps(index, protocol=5, buffer_callback=buffers.append)
    config = runs.config(Path(run.address))
    return WorkerSetup(run.address, config, earlier=lambda: pickle.loads(shared, buffers=buffers))


def _opened(setup: WorkerSetup) -> float:
    before = time.process_time()
    worker = AgentWorker(setup, "later")
    used = time.process_time() - before
    worker.close()
    return used
