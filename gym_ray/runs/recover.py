"""What a run left behind, made into shards: of a collection that died, and of a trainer's live rollouts.

Live rollouts (``gym_ray.service``, ``gym-ray rl``, NeMo-RL) are begun group by group and have no plan. One is made here
of the journal itself: each group that has a record is a task, under its number, with the rollouts that were begun.
Such a plan says so (``settings.order`` is ``journal``) and is made anew each time, so that the directory may go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import yaml
from numpy.typing import NDArray
from pyarrow import parquet as pq
from pydantic import ValidationError

from gym_ray.collect.config import RunConfig
from gym_ray.collect.journal.frames import INDEX_BITS
from gym_ray.collect.journal.index import JournalIndex, scan
from gym_ray.collect.output.finalize import Summary, finalize
from gym_ray.collect.output.shards import BATCH_ROWS, plan_shards, read_batches
from gym_ray.collect.rundir import CONFIG, JOURNAL, PLAN, RunDir
from gym_ray.collect.tasks.plan import PART_ROWS, PLAN_JSON, SCHEMA, EnvironmentPlan, Plan, load_plan
from gym_ray.types.errors import UserError
from gym_ray.types.rollout import Rollout
from gym_ray.types.validation import explain

LIVE = "journal"
"""``settings.order`` of a plan that was made of the journal."""


def recover(address: str) -> Summary:
    """Make shards, metrics and a manifest of the run at ``address``.

    Raises:
        UserError: there is no run, or nothing in it; its configuration cannot be read, or it cannot be written.
    """
    run = RunDir.open(address)
    plan = load_plan(run)
    if not run.names(JOURNAL, ".seg"):
        raise UserError(f"{address}: nothing to recover, its {JOURNAL} has no rollout")
    try:
        config = RunConfig.model_validate(yaml.safe_load(run.read(CONFIG)))
    except ValidationError as error:
        raise UserError("\n".join(f"{address}/{CONFIG}: {line}" for line in explain(error))) from error
    if plan is None or plan.settings.get("order") == LIVE:
        plan = _plan_of(run)
    return finalize(run, config, plan)


def _plan_of(run: RunDir) -> Plan:
    """The plan that the journal amounts to, written as a run's own. Raises UserError when it has no record."""
    index = scan(run)
    if not len(index.done):
        raise UserError(f"{run.address}: nothing to recover, its {JOURNAL} has no rollout that has ended")
    sizes, counts, digest = _sizes(index), dict[str, EnvironmentPlan](), blake2b(digest_size=16)
    rows: list[dict[str, Any]] = []
    parts = total = 0
    for first in _first_of_each(run, index):
        its = counts.setdefault(first.environment, EnvironmentPlan())
        size = sizes[first.task_number]
        # Lines count within an environment; each group stands for one.
        values = (first.task_number, first.task_id, first.environment, 0, size, its.lines, 1, first.task)
        rows.append(dict(zip(SCHEMA.names, values, strict=True)))
        digest.update(f"{first.environment}\0{first.task_id}\0{len(first.task)}\0".encode() + first.task)
        its.tasks, its.lines, its.rollouts = its.tasks + 1, its.lines + 1, its.rollouts + size
        its.rollouts_per_task, total = max(its.rollouts_per_task, size), total + 1
        if len(rows) == PART_ROWS:
            parts, rows = _write(run, parts, rows), []
    parts = _write(run, parts, rows) if rows else parts
    rollouts, largest = sum(its.rollouts for its in counts.values()), max(sizes.values())
    plan = Plan(digest.hexdigest(), largest, counts, total, total, rollouts, 0, parts, [], {"order": LIVE})
    run.write(PLAN_JSON, orjson.dumps(asdict(plan), option=orjson.OPT_INDENT_2))
    return plan


def _sizes(index: JournalIndex) -> dict[int, int]:
    """Rollouts of each group, by its number: as far as they were begun."""
    keys: NDArray[np.uint64] = np.concatenate([index.done.keys, index.generated.keys, index.starts])
    tasks, members = keys >> np.uint64(INDEX_BITS), keys & np.uint64((1 << INDEX_BITS) - 1)
    order = np.lexsort((members, tasks))
    last = np.append(np.flatnonzero(np.diff(tasks[order])), len(order) - 1)
    return dict(zip(tasks[order][last].tolist(), (members[order][last] + np.uint64(1)).tolist(), strict=True))


def _first_of_each(run: RunDir, index: JournalIndex) -> Iterator[Rollout]:
    """One rollout of each group that has one, in order of their numbers."""
    number = -1
    for shard in plan_shards(index, BATCH_ROWS):
        for batch in read_batches(run, shard):
            for rollout in batch:
                if rollout.task_number > number:
                    number = rollout.task_number
                    yield rollout


def _write(run: RunDir, part: int, rows: list[dict[str, Any]]) -> int:
    """Write a part of the plan; the number of parts there are then."""
    with run.create_file(f"{PLAN}/part-{part:05d}.parquet") as sink:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), sink, compression="zstd")
    return part + 1
