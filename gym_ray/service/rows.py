"""The rows of groups, durable: those that were submitted, and those of the run's task files.

A submission is one file, ``service/rows-<source>.json``, there before its groups are and removed after the last
of them. Task files are read again at each start; they may have grown, not changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import orjson

from gym_ray.collect.config import RunConfig
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.tasks.bad_rows import BadRow
from gym_ray.collect.tasks.reader import TaskLine, TaskReader
from gym_ray.resources.load import load_servers
from gym_ray.types.errors import UserError

SERVICE = "service"
"""Folder of the run directory."""
POOL = "pool"
"""``Entry.source`` of rows that come from task files."""


class Rows:
    """Rows by (source, line). ``pool``: the tasks of the task files; empty where none are drawn."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._submitted: dict[str, list[bytes]] = {}
        self.pool: list[TaskLine] = []

    def read_pool(self, config: RunConfig) -> None:
        """Read the task files. Raises UserError for the first bad row, and where there is no row at all."""
        servers = load_servers(config.envs)
        for task in TaskReader(config.tasks, config.envs, servers):
            if isinstance(task, BadRow):
                raise UserError(task.lines()[0])
            if task.fresh:
                self.pool.append(task)
        if not self.pool:
            raise UserError(f"tasks: no task for {', '.join(config.envs)}")

    def fingerprint(self, count: int) -> str:
        """Of the first ``count`` tasks of the pool."""
        digest = blake2b(digest_size=16)
        for task in self.pool[:count]:
            digest.update(f"{task.environment}\0{task.task_id}\0{len(task.row)}\0".encode() + task.row)
        return digest.hexdigest()

    def keep(self, source: str, rows: Sequence[bytes]) -> None:
        """Make a submission durable. Blocks; raises UserError."""
        self._submitted[source] = list(rows)
        self._run.write(_path(source), orjson.dumps([row.decode() for row in rows]))

    def row(self, source: str, line: int) -> bytes:
        """One row."""
        if source == POOL:
            return self.pool[line].row
        if source not in self._submitted:
            self._submitted[source] = [row.encode() for row in orjson.loads(self._run.read(_path(source)))]
        return self._submitted[source][line]

    def environment(self, source: str, line: int) -> str | None:
        """The environment that a file of tasks belongs to; None: the row says."""
        return self.pool[line].environment if source == POOL else None

    def forget(self, source: str) -> None:
        """All groups of a submission have ended. Blocks."""
        self._submitted.pop(source, None)
        self._run.remove(_path(source))


def _path(source: str) -> str:
    return f"{SERVICE}/rows-{source}.json"
