"""The plan: every task of a run, in Parquet parts that the pipeline reads.

``journal/plan/part-*.parquet`` hold one row per run of equal source lines: ``task_number`` (dense, by first
appearance), ``task_id``, ``environment``, ``first_index`` and ``rollouts`` (the row's rollout indexes are
``first_index .. first_index + rollouts - 1``), ``line`` and ``lines`` (which of the environment's source
lines it stands for) and ``row`` (the JSON as it is sent). ``journal/plan.json`` comes last: parts that it
does not count do not exist.

Invariants: a planned (task, rollout index) never changes and never goes away. A plan grows at its end only:
by lines appended to an environment's tasks, by new environments, by a larger ``rollouts_per_task``. Each
source line has its environment's ``rollouts_per_task`` rollouts. Memory holds one part and some 80 bytes per task.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import parquet as pq

from gym_ray.collect.config import RunConfig
from gym_ray.collect.part import Part
from gym_ray.collect.rundir import FAILURES, JOURNAL, PLAN, RunDir
from gym_ray.collect.tasks.bad_rows import BadRow, BadRows
from gym_ray.collect.tasks.reader import TaskLine, TaskReader
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.errors import UserError

PLAN_JSON = f"{JOURNAL}/plan.json"
BAD_TASKS = f"{FAILURES}/bad_tasks.jsonl"
SCHEMA = pa.schema(
    [
        ("task_number", pa.int64()),
        ("task_id", pa.string()),
        ("environment", pa.string()),
        ("first_index", pa.int32()),
        ("rollouts", pa.int32()),
        ("line", pa.int64()),
        ("lines", pa.int32()),
        ("row", pa.binary()),
    ]
)
PART_ROWS = 5_000
PART_BYTES = 64_000_000
"""A part ends at either limit: readers decode whole parts."""


@dataclass(slots=True)
class EnvironmentPlan:
    """What is planned for one environment. ``lines``: source lines taken, each with ``rollouts_per_task`` rollouts."""

    tasks: int = 0
    lines: int = 0
    rollouts: int = 0
    rollouts_per_task: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """``plan.json``. ``fingerprint``: hash of all tasks in order. ``rows``: rows in all parts. ``bad_rows``: left out.

    ``sources``: [address, bytes, modified] of each task file; ``settings``: what else decides the tasks.
    """

    fingerprint: str
    rollouts_per_task: int
    environments: dict[str, EnvironmentPlan]
    tasks: int
    rows: int
    rollouts: int
    bad_rows: int
    parts: int
    sources: list[list[Any]]
    settings: dict[str, Any]

    def files(self, run: RunDir) -> list[str]:
        """The parts' paths on the run's filesystem."""
        return [run.path(_part(number)) for number in range(self.parts)]


def load_plan(run: RunDir) -> Plan | None:
    """The run's plan, None when it has none yet."""
    found = run.read_json(PLAN_JSON)
    if found is None:
        return None
    found["environments"] = {name: EnvironmentPlan(**counts) for name, counts in found["environments"].items()}
    return Plan(**found)


def copy_plan(run: RunDir, source: RunDir) -> Plan:
    """The plan of ``source`` as that of ``run``, whose rollouts are recorded there.

    Raises:
        UserError: ``source`` has no journal any more, or ``run`` has the plan of another.
    """
    plan, old = load_plan(source), load_plan(run)
    if plan is None or not source.names(JOURNAL, ".seg"):
        raise UserError(f"{source.address} has no {JOURNAL} any more: what there is to verify again was in there")
    if old is not None and old.fingerprint != plan.fingerprint:
        raise UserError(f"{run.address} was planned after other tasks than {source.address} has: use a new run_dir")
    for part in [*map(_part, range(plan.parts)), PLAN_JSON]:
        run.write(part, source.read(part))
    return plan


def write_plan(run: RunDir, config: RunConfig, servers: Mapping[str, type[ResourcesServer]]) -> Plan:
    """Plan a run: read, check and number all tasks. An earlier plan stays as it is while its task files are
    untouched, and gets longer when they have grown.

    Raises:
        UserError: bad rows (all of them in one error), no task at all, unreadable files; or a planned task
            has changed or gone (named, with the mend).
    """
    old = load_plan(run)
    if old is not None and old.settings["order"] != config.tasks.order:
        raise UserError(
            f"tasks.order: this run was planned with {old.settings['order']}: set it back, or a new run_dir"
        )
    for name, counts in (old.environments if old else {}).items():
        if name in config.envs and (wanted := config.rollouts_of(name)) < counts.rollouts_per_task:
            raise UserError(
                f"collect.rollouts_per_task: this run planned {counts.rollouts_per_task} and cannot shrink to {wanted} "
                f"({name}): use a new run_dir"
            )
    planner = _Planner(run, config, servers, old)
    return old if old is not None and planner.is_current() else planner.plan()


def planned_rollouts(run: RunDir, plan: Plan, part: Part) -> int:
    """How many rollouts of the plan belong to ``part``. Reads two columns of it, unless the part is the whole."""
    if part.whole:
        return plan.rollouts
    totals = np.frombuffer(_planned_rollouts(run, plan), np.int64)
    return int(totals[part.has(np.arange(len(totals)))].sum())


class _Planner:
    """One pass over the tasks, beside the old plan if there is one."""

    def __init__(
        self, run: RunDir, config: RunConfig, servers: Mapping[str, type[ResourcesServer]], old: Plan | None
    ) -> None:
        self._run, self._config, self._old = run, config, old
        self._reader = TaskReader(config.tasks, config.envs, servers)
        self._wanted = {name: config.rollouts_of(name) for name in config.envs}
        self._digest = blake2b(digest_size=16)
        self._planned = array("q")
        # The reader numbers what it sees; a line added amid old ones must not shift the numbers after it.
        self._numbers = array("q")
        old_environments = old.environments if old else {}
        self._before = {name: (counts.lines, counts.rollouts_per_task) for name, counts in old_environments.items()}
        names = [*old_environments, *config.envs]
        self._counts = {name: EnvironmentPlan(rollouts_per_task=self._wanted.get(name, 0)) for name in names}

    def is_current(self) -> bool:
        """Whether the old plan is what a fresh pass would make, judged without reading."""
        old = self._old
        if old is None or (old.sources, old.settings) != (self._sources(), self._settings()):
            return False
        return {name: counts.rollouts_per_task for name, counts in old.environments.items()} == self._wanted

    def plan(self) -> Plan:
        """Read everything, write what is new, then ``plan.json``."""
        old = self._old
        known: Iterator[_Known] = iter(())
        if old:
            known, self._planned = _known_lines(self._run, old), _planned_rollouts(self._run, old)
        writer = _PartWriter(self._run, old.parts if old else 0)
        policy = self._config.tasks.on_bad_row
        with BadRows(policy, lambda: self._run.create_file(BAD_TASKS)) as bad:
            for item in self._reader:
                if isinstance(item, BadRow):
                    bad.add(item)
                elif not bad.fatal:
                    self._take(item, known, writer)
        self._check_nothing_gone()
        writer.close()
        return self._finish(writer, bad.count)

    def _take(self, task: TaskLine, known: Iterator[_Known], writer: _PartWriter) -> None:
        counts = self._counts[task.environment]
        line, wanted, number = counts.lines, self._wanted[task.environment], len(self._planned)
        lines, planned = self._before.get(task.environment, (0, 0))
        amount = wanted
        if line < lines:
            same = next(known)
            _check_same(task, line, same)
            amount, number = wanted - planned, same.task_number
        if task.fresh:
            self._numbers.append(number)
        number = self._numbers[task.number]
        if number == len(self._planned):
            self._planned.append(0)
        if amount:
            writer.add(task, number, self._planned[number], amount, line)
            self._planned[number] += amount
        counts.lines += 1
        counts.tasks += task.fresh
        counts.rollouts += wanted
        self._digest.update(f"{task.environment}\0{task.task_id}\0{len(task.row)}\0".encode() + task.row)

    def _check_nothing_gone(self) -> None:
        for name, (lines, _) in self._before.items():
            if (found := self._counts[name].lines) < lines:
                raise UserError(
                    f"tasks: this run planned {lines:,} rows of {name}, the task files now have {found:,}: "
                    "bring the missing rows back, or use a new run_dir"
                )

    def _finish(self, writer: _PartWriter, bad_rows: int) -> Plan:
        counts = self._counts
        plan = Plan(
            fingerprint=self._digest.hexdigest(),
            rollouts_per_task=max(self._wanted.values()),
            environments=counts,
            tasks=sum(count.tasks for count in counts.values()),
            rows=(self._old.rows if self._old else 0) + writer.rows,
            rollouts=sum(count.rollouts for count in counts.values()),
            bad_rows=bad_rows,
            parts=writer.parts,
            sources=self._sources(),
            settings=self._settings(),
        )
        if not plan.tasks:
            read = ", ".join(dict.fromkeys(source.address for source, _ in self._reader.sources))
            raise UserError(f"tasks: no task for {', '.join(counts)} in {read}")
        self._run.write(PLAN_JSON, orjson.dumps(asdict(plan), option=orjson.OPT_INDENT_2))
        return plan

    def _sources(self) -> list[list[Any]]:
        return [[source.address, source.size, source.modified] for source, _ in self._reader.sources]

    def _settings(self) -> dict[str, Any]:
        tasks, prompt = self._config.tasks, self._reader.prompt
        return {
            "limit": tasks.limit,
            "limits": {name: env.limit for name, env in self._config.envs.items() if env.limit is not None},
            "order": tasks.order,
            "on_bad_row": tasks.on_bad_row,
            "max_row_mb": tasks.max_row_mb,
            "prompt": blake2b(prompt.text, digest_size=16).hexdigest() if prompt else None,
            "environments": {name: [env.server, env.aliases] for name, env in self._config.envs.items()},
        }


class _PartWriter:
    """Buffers plan rows and writes them as numbered parts. Equal lines in sequence share a row."""

    def __init__(self, run: RunDir, first_part: int) -> None:
        self._run, self.parts, self.rows = run, first_part, 0
        self._buffer: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, task: TaskLine, number: int, first_index: int, rollouts: int, line: int) -> None:
        """Plan ``rollouts`` more rollouts of task ``number``."""
        if self._buffer and _continues(self._buffer[-1], number, first_index, line):
            self._buffer[-1]["rollouts"] += rollouts
            self._buffer[-1]["lines"] += 1
            return
        if len(self._buffer) >= PART_ROWS or self._bytes >= PART_BYTES:
            self._flush()
        values = (number, task.task_id, task.environment, first_index, rollouts, line, 1, task.row)
        self._buffer.append(dict(zip(SCHEMA.names, values, strict=True)))
        self._bytes += len(task.row)

    def close(self) -> None:
        """Write what is buffered."""
        if self._buffer:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_pylist(self._buffer, SCHEMA)
        with self._run.create_file(_part(self.parts)) as sink:
            pq.write_table(table, sink, compression="zstd")
        self.parts += 1
        self.rows += len(self._buffer)
        self._buffer, self._bytes = [], 0


@dataclass(slots=True)
class _Known:
    """A source line as the old plan has it."""

    task_number: int
    task_id: str
    environment: str
    row: bytes


def _part(number: int) -> str:
    return f"{PLAN}/part-{number:05d}.parquet"


def _continues(last: dict[str, Any], number: int, first_index: int, line: int) -> bool:
    return bool(
        last["task_number"] == number
        and last["line"] + last["lines"] == line
        and last["first_index"] + last["rollouts"] == first_index
    )


def _planned_rollouts(run: RunDir, plan: Plan) -> array[int]:
    """How many rollouts each task has in the old plan, by task number."""
    totals = np.zeros(plan.tasks, np.int64)
    for path in plan.files(run):
        table = _read(run, path, ["task_number", "rollouts"])
        np.add.at(totals, table["task_number"].to_numpy(), table["rollouts"].to_numpy())
    return array("q", totals.tobytes())


def _known_lines(run: RunDir, plan: Plan) -> Iterator[_Known]:
    """The old plan's source lines in their order. Rows added later for more rollouts repeat lines: left out."""
    seen: dict[str, int] = {}
    columns = ["task_number", "task_id", "environment", "line", "lines", "row"]
    for path in plan.files(run):
        for row in _read(run, path, columns).to_pylist():
            if row["line"] < seen.get(row["environment"], 0):
                continue
            seen[row["environment"]] = row["line"] + row["lines"]
            yield from [_Known(row["task_number"], row["task_id"], row["environment"], row["row"])] * row["lines"]


def _read(run: RunDir, path: str, columns: list[str]) -> pa.Table:
    # No partitioning: a folder named `lr=1` in the run's path is no column.
    return pq.read_table(path, columns=columns, filesystem=run.filesystem, partitioning=None)


def _check_same(task: TaskLine, line: int, known: _Known) -> None:
    if (task.environment, task.task_id, task.row) == (known.environment, known.task_id, known.row):
        return
    now = "has different content" if task.task_id == known.task_id else f"is now task {task.task_id!r}"
    raise UserError(
        f"tasks: row {line + 1} of {task.environment} was task {known.task_id!r} when this run was planned and {now}. "
        "Tasks may be appended, not changed: bring the old task files back, or use a new run_dir"
    )
