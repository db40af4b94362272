"""From rows of task files to tasks: parsed, routed, checked and numbered, one at a time.

Steps per row: JSON -> prompt template -> environment -> the environment's Task class -> id -> number.

- The environment is the row's ``environment``, else ``agent_ref.name``, else ``task_source``, each matched
  against names and aliases. With one environment chosen, rows that name none or an unknown agent are its.
  Files of ``envs.NAME.tasks`` belong to NAME whatever their rows say.
- The id is the first of ``task_id``, ``problem_id``, ``instance_id``, ``uuid``, ``id`` that is a string or
  an integer, else a hash of the row. Ids count per environment.
- Equal rows with one id are one task, rolled out more often; different rows with one id are an error.
- A bad row is data (``BadRow``), so that a reader can report all of them. Only a file that cannot be
  read at all raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gym_ray.collect.config import TasksConfig
from gym_ray.collect.tasks.bad_rows import BadRow
from gym_ray.collect.tasks.identity import TaskIndex, hash64
from gym_ray.collect.tasks.prompt import load_prompt
from gym_ray.collect.tasks.rules import BadTask, TaskRules, parse_row, task_id_of
from gym_ray.collect.tasks.sources import RawRow, Source, find_sources
from gym_ray.collect.tasks.turns import take_turns
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.errors import UserError

_LINE_BITS = 40
"""A place is (source << 40 | line): 16 million files of a million million lines."""


@dataclass(frozen=True, slots=True)
class TaskLine:
    """One good row. ``number``: its task; ``fresh``: false when an equal row came before. ``row``: JSON as sent."""

    number: int
    fresh: bool
    task_id: str
    environment: str
    row: bytes


class TaskReader:
    """Reads the tasks of a set of environments. One instance is one pass.

    Raises:
        UserError: no such file, an unreadable file, a broken prompt template.
    """

    def __init__(
        self,
        config: TasksConfig,
        envs: Mapping[str, EnvironmentConfig],
        servers: Mapping[str, type[ResourcesServer]],
    ) -> None:
        self._config, self._envs, self._servers = config, envs, servers
        self.sources = _sources(config, envs, servers)
        self.prompt = load_prompt(config.prompt) if config.prompt else None
        self._rules = TaskRules(envs, servers)
        self._index = TaskIndex()
        self._taken = dict.fromkeys(envs, 0)

    def __iter__(self) -> Iterator[TaskLine | BadRow]:
        for position, raw in self._turns() if self._config.order == "weighted" else self._raw(range(len(self.sources))):
            source, owner = self.sources[position]
            try:
                task = self._task(raw.raw, raw.problem, owner, position << _LINE_BITS | raw.number)
            except BadTask as bad:
                yield BadRow(source.address, raw.number, list(bad.args))
            else:
                if task is not None:
                    yield task

    def _raw(self, positions: Iterable[int]) -> Iterator[tuple[int, RawRow]]:
        """The rows of the sources at ``positions``, in order, while somebody may take them."""
        max_bytes = int(self._config.max_row_mb * 1e6)
        for position in positions:
            source, owner = self.sources[position]
            for raw in source.rows(max_bytes):
                if all(map(self._is_full, [owner] if owner else self._envs)):
                    break
                yield position, raw

    def _turns(self) -> Iterator[tuple[int, RawRow]]:
        """The rows of all environments by turns. They are made tasks as they come out: numbers follow that order."""
        streams: dict[str, list[int]] = {name: [] for name in self._envs}
        for position, (source, owner) in enumerate(self.sources):
            if owner is None:
                raise UserError(
                    f"tasks.order=weighted: the rows of {source.address} belong to several environments and keep their "
                    "order: give each environment files of its own (envs.NAME.tasks)"
                )
            streams[owner].append(position)
        rows = {name: self._raw(positions) for name, positions in streams.items()}
        return take_turns(rows, {name: env.weight for name, env in self._envs.items()})

    def _is_full(self, environment: str) -> bool:
        own = self._envs[environment].limit
        limit = self._config.limit if own is None else own
        return limit is not None and self._taken[environment] >= limit

    def _task(self, raw: bytes | None, problem: str | None, owner: str | None, place: int) -> TaskLine | None:
        """The row as a task; None when its environment has all it may take."""
        if raw is None:
            raise BadTask(f"row: {problem}")
        row = parse_row(raw)
        environment = owner or self._rules.route(row)
        if self._is_full(environment):
            return None
        sent = self._with_prompt(row) or raw
        self._rules.check(row, environment)
        task_id, named = task_id_of(row, raw)
        identity = hash64(f"{environment}\0{task_id}".encode())
        content = hash64(raw)
        number, fresh = self._index.number(identity, content, place)
        if not fresh and self._index.content[number] != content:
            raise BadTask(f"{named}: {task_id!r} is also at {self._place(number)}, with different content")
        self._taken[environment] += 1
        return TaskLine(number, fresh, task_id, environment, sent)

    def _with_prompt(self, row: dict[str, Any]) -> bytes | None:
        if self.prompt is None:
            return None
        try:
            self.prompt.apply(row)
        except ValueError as error:
            raise BadTask(str(error)) from error
        return orjson.dumps(row)

    def _place(self, number: int) -> str:
        place = self._index.place[number]
        return f"{self.sources[place >> _LINE_BITS][0].address}:{place & (1 << _LINE_BITS) - 1}"


def _sources(
    config: TasksConfig, envs: Mapping[str, EnvironmentConfig], servers: Mapping[str, type[ResourcesServer]]
) -> list[tuple[Source, str | None]]:
    """Every file to read, with the environment it belongs to (None: its rows say)."""
    wanted: list[tuple[str, str | None]] = [(address, None) for address in _listed(config.path)]
    for name, env in envs.items():
        own = _listed(env.tasks)
        if not own and config.path is None:
            own = [str(servers[name].examples(env.options))]
        wanted += [(address, name) for address in own]
    return [(source, owner) for address, owner in wanted for source in find_sources(address)]


def _listed(paths: str | list[str] | None) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths or ())
