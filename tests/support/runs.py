"""Reading a run directory the way its users do, and checking the promises it makes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def jsonl_rows(run: Path, folder: str = "rollouts") -> list[dict[str, Any]]:
    """Every row of the JSONL shards."""
    parts = sorted(run.joinpath(folder).glob("part-*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


def parquet_rows(run: Path) -> list[dict[str, Any]]:
    """Every row of the Parquet shards."""
    return [row for part in sorted(run.glob("rollouts/part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def check_exactly_once(run: Path, tasks: int, rollouts_per_task: int) -> list[dict[str, Any]]:
    """Each (task, rollout index) is in the run once, as a rollout or as a failure; both formats agree.

    Returns the JSONL rows of ``rollouts/``.
    """
    rows, failures = jsonl_rows(run), jsonl_rows(run, "failures")
    keys = Counter((row["gym_ray"]["task_id"], row["gym_ray"]["rollout_index"]) for row in rows)
    keys.update((row["task_id"], row["_ng_rollout_index"]) for row in failures)
    twice = [key for key, count in keys.items() if count > 1]
    assert not twice, f"{len(twice)} doubled, e.g. {twice[:3]}"
    assert len(keys) == tasks * rollouts_per_task
    assert {index for _, index in keys} == set(range(rollouts_per_task))
    columns = {(row["task_id"], row["rollout_index"]): row["reward"] for row in parquet_rows(run)}
    assert columns.keys() == {(row["gym_ray"]["task_id"], row["gym_ray"]["rollout_index"]) for row in rows}
    manifest = json.loads(run.joinpath("manifest.json").read_text())
    assert manifest, "the manifest is written last"
    return rows
