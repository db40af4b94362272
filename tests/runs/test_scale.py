"""A large run streams: what a profile needs does not grow with the number of rollouts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gym_ray.collect.output.rows import make_row
from gym_ray.collect.output.table import ROLLOUT_SCHEMA, to_table
from tests.support.scripted_runs import scripted, write_run

PER_TASK, BATCH = 8, 2000
_PROFILE = """
import resource, sys
from gym_ray.runs.profile import profile_run
found = profile_run(sys.argv[1])
print(found["rollouts"]["found"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def large_run(folder: Path, rollouts: int) -> str:
    """A run of one shard: one batch over and over, under the numbers of further tasks."""
    tasks = BATCH // PER_TASK
    texts = {"extra": {"extracted_answer": "4"}, "row": {"expected_answer": "4", "question": "2 + 2? " * 20}}
    batch = [
        scripted(task, index, float(index % 3 == 0), f"The answer is {task}. " * 30, **texts)
        for task in range(tasks)
        for index in range(PER_TASK)
    ]
    run = write_run(folder, [scripted(0, 0)], per_task=PER_TASK)
    table, place = to_table([make_row(one) for one in batch]), ROLLOUT_SCHEMA.get_field_index("task_number")
    with pq.ParquetWriter(f"{run}/rollouts/part-00000.parquet", ROLLOUT_SCHEMA, compression="zstd") as writer:
        for turn in range(rollouts // BATCH):
            numbers = pa.array([turn * tasks + one.task_number for one in batch], pa.int64())
            writer.write_table(table.set_column(place, ROLLOUT_SCHEMA.field(place), numbers))
    return run


def _profiled(run: str) -> tuple[int, int]:
    """Rollouts found, and KiB that the process had at most."""
    command = [sys.executable, "-c", _PROFILE, run]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=600)
    found, memory = map(int, done.stdout.split())
    return found, memory


def test_memory_does_not_grow_with_the_run(tmp_path: Path) -> None:
    small, large = (_profiled(large_run(tmp_path / str(size), size)) for size in (10_000, 100_000))
    assert (small[0], large[0]) == (10_000, 100_000)
    assert large[1] < small[1] + 32 * 1024
