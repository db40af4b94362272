"""The Ray Data pipeline: plan -> blocks of whole groups -> a pool of agent workers -> receipts.

Why it looks as it does, all measured on Ray 2.60: Ray Data's own async functions hold every finished row
until the slowest earlier one ends, so workers are synchronous and own their loop; outputs that come in
completion order are silently lost and doubled when an actor dies, so a block has one output, in input
order; cost is per block, not per row, so cheap groups share one; trajectories through the object store
would cost as much as all the rest, so they go to the journal and only receipts come back.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext

from gym_ray.collect.config import CollectConfig
from gym_ray.collect.journal.frames import INDEX_BITS
from gym_ray.collect.journal.history import Earlier
from gym_ray.collect.part import Part
from gym_ray.collect.worker import AgentWorker, PlannedTask, Receipt, WorkerSetup
from gym_ray.types.errors import UserError

CHEAP_BLOCK = 64
"""Rollouts to which small groups are packed: Ray Data's 10 ms per block then weigh 0.15 ms each."""
MAX_CALLS = 128
"""Blocks at once in one worker: each waits in a thread, and more threads than this drain slowly."""
OVERSUBSCRIPTION = 8
"""Rollouts at hand per rollout in flight: a block is held until its slowest rollout ends, which may take several
times as long as most. What waits at hand costs next to nothing (``lanes.Boarding``)."""
ELASTIC_OVERSUBSCRIPTION = 2
"""The same where more workers may come: what one has at hand is none of theirs."""
GROW_AT, SHRINK_AT = 0.7, 0.3
"""A pool that may grow does, by as much as brings it to this share of the blocks that it can hold, and lets workers
go that have none below that one."""
PLAN_COLUMNS = ["task_number", "task_id", "environment", "first_index", "rollouts", "row"]


class BlockWorker:
    """An agent worker in the shape Ray Data calls: a table of planned tasks in, a table of receipts out."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._error = ""
        try:
            self._worker = AgentWorker(setup, ray.get_runtime_context().get_actor_id())
        except UserError as error:
            self._error = str(error)

    def __call__(self, block: pa.Table) -> pa.Table:
        """``block``: columns ``PLAN_COLUMNS``. Returns one row: finished, known, skipped, error.

        ``error`` is the text of a :class:`UserError` (a full disk, a model that cannot be reached at all) and
        ends the run: raised here, it would reach the driver as a traceback of Ray's.
        """
        receipt = Receipt(0, 0, 0)
        if not self._error:
            try:
                receipt = self._worker.run(planned_tasks(block))
            except UserError as error:
                self._error = str(error)
        return pa.table({**{name: [count] for name, count in asdict(receipt).items()}, "error": [self._error]})


def planned_tasks(block: pa.Table) -> list[PlannedTask]:
    """The rows of a table with ``PLAN_COLUMNS``."""
    columns = (block.column(name).to_pylist() for name in PLAN_COLUMNS)
    return [
        PlannedTask(number, task_id, environment, first_index, rollouts, row)
        for number, task_id, environment, first_index, rollouts, row in zip(*columns, strict=True)
    ]


def block_tasks(config: CollectConfig, tasks: int) -> int:
    """Tasks per block: one group, or several small ones; fewer when there would be idle workers."""
    rollouts = config.block_rollouts or max(CHEAP_BLOCK, _at_hand(config) // MAX_CALLS)
    packed = max(1, rollouts // config.rollouts_per_task)
    return max(1, min(packed, math.ceil(tasks / (most_agents(config) * 4))))


def concurrent_blocks(config: CollectConfig, tasks_per_block: int) -> int:
    """Blocks that one worker holds at once."""
    in_block = tasks_per_block * config.rollouts_per_task
    return min(MAX_CALLS, max(4, math.ceil(_at_hand(config) / in_block)))


def most_agents(config: CollectConfig) -> int:
    """Workers at most."""
    return max(config.num_agents, config.max_agents or 0)


def _at_hand(config: CollectConfig) -> int:
    """Rollouts that one worker holds at once, in the air or not."""
    elastic = most_agents(config) > config.num_agents
    return (ELASTIC_OVERSUBSCRIPTION if elastic else OVERSUBSCRIPTION) * config.in_flight


def run_blocks(plan_files: list[str], filesystem: Any, tasks: int, setup: WorkerSetup) -> Iterator[Receipt]:
    """Run the plan; yields one receipt per block as blocks end.

    ``plan_files``: Parquet files with ``PLAN_COLUMNS``. ``tasks``: rows in all of them. Tasks of other parts
    (``collect.part``), or of which earlier attempts left nothing to make (``setup.earlier``), are not handed out.

    Raises:
        UserError: a worker cannot go on.
    """
    config = setup.config.collect
    _tune(DataContext.get_current(), most_agents(config))
    part = Part.parse(config.part)
    per_block = block_tasks(config, math.ceil(tasks / part.parts))
    # Files are read by a function of ours: Ray Data's own first reads samples of them in a task, and everything else
    # waits for that, then cuts small files into many pieces, each a task and a worker process more.
    files = [{"file": name} for name in plan_files]
    dataset = ray.data.from_items(files, override_num_blocks=len(files))
    dataset = dataset.map_batches(read_file, fn_args=(filesystem,), batch_size=None, batch_format="pyarrow")
    if not part.whole:
        dataset = dataset.map_batches(drop_others, fn_args=(part,), batch_format="pyarrow", num_cpus=0.1)
    if setup.earlier is not None:
        dataset = dataset.map_batches(drop_done, fn_args=(setup.earlier,), batch_format="pyarrow", num_cpus=0.1)
    dataset = dataset.repartition(target_num_rows_per_block=per_block)
    dataset = dataset.map_batches(
        BlockWorker,
        fn_constructor_args=(setup,),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=config.agent_cpus,
        **_place(config),
        **_pool(config.num_agents, most_agents(config), concurrent_blocks(config, per_block)),
    )
    for bundle in dataset.iter_internal_ref_bundles():
        for table in ray.get(list(bundle.block_refs)):
            for row in table.to_pylist():
                if error := row.pop("error"):
                    raise UserError(error)
                yield Receipt(**row)


def read_file(named: pa.Table, filesystem: Any) -> pa.Table:
    """The plan file that the one row of ``named`` names."""
    (name,) = named["file"].to_pylist()
    # No partitioning: a folder named `lr=1` in the run's path is no column.
    return pq.read_table(name, columns=PLAN_COLUMNS, filesystem=filesystem, partitioning=None)


def drop_others(tasks: pa.Table, part: Part) -> pa.Table:
    """Leave out tasks of other parts."""
    return tasks.filter(pa.array(part.has(tasks["task_number"].to_numpy())))


def drop_done(tasks: pa.Table, earlier: Earlier) -> pa.Table:
    """Leave out planned tasks all of whose rollouts are there."""
    keys = earlier().done.keys
    first = tasks["task_number"].to_numpy().astype(np.uint64) << np.uint64(INDEX_BITS)
    first += tasks["first_index"].to_numpy().astype(np.uint64)
    rollouts = tasks["rollouts"].to_numpy()
    there = np.searchsorted(keys, first + rollouts.astype(np.uint64)) - np.searchsorted(keys, first)
    return tasks.filter(pa.array(there < rollouts))


def _place(config: CollectConfig) -> dict[str, Any]:
    """Where agent workers go. Ray Data spreads them over the nodes that will do."""
    resources = {"resources": config.agent_resources} if config.agent_resources else {}
    return {**resources, **({"label_selector": config.agent_labels} if config.agent_labels else {})}


def _pool(least: int, most: int, calls: int) -> dict[str, Any]:
    """Arguments for a pool of threaded actors; older releases spell the calls per actor differently.

    One that grows lets go only actors without a block: all that they made is in the journal, and told.

    Ray restarts such actors and retries their tasks without limit, and that is right here: the journal makes
    every retry cheap, and lanes give up a row that keeps killing its worker.
    """
    strategy: dict[str, Any] = {
        **({"size": least} if least == most else {"min_size": least, "max_size": most}),
        "max_tasks_in_flight_per_actor": calls + 4,
        "enable_true_multi_threading": True,
    }
    if "max_concurrent_calls_per_actor" in inspect.signature(ActorPoolStrategy.__init__).parameters:
        return {"compute": ActorPoolStrategy(**strategy, max_concurrent_calls_per_actor=calls)}
    return {"compute": ActorPoolStrategy(**strategy), "max_concurrency": calls}


def _tune(context: DataContext, agents: int) -> None:
    """Settings that would otherwise abort, slow down or clutter a run of long rollouts."""
    # Among several workers the first one up would take all blocks. A lone one need not be waited for: Ray Data's
    # own actors start meanwhile, and until they are up it hands out one block at a time.
    wait_s = 600 if agents > 1 else -1
    wanted = {
        "execution_no_progress_timeout_s": -1,
        "memory_usage_poll_interval_s": None,
        "wait_for_min_actors_s": wait_s,
        "enable_progress_bars": False,
        "enable_operator_progress_bars": False,
        "print_on_execution_start": False,
        "max_errored_blocks": 0,
    }
    for name, value in wanted.items():
        if hasattr(context, name):  # Older releases lack some of them, and what they govern.
            setattr(context, name, value)
    context.issue_detectors_config.detectors = []
    context.autoscaling_config.actor_pool_util_upscaling_threshold = GROW_AT
    context.autoscaling_config.actor_pool_util_downscaling_threshold = SHRINK_AT
