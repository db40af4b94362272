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

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from gym_ray.collect.config import TasksConfig
from gym_ray.collect.tasks.bad_rows import BadRow
from gym_ray.collect.tasks.identity import TaskIndex, hash64, row_id
from gym_ray.collect.tasks.prompt import load_prompt
from gym_ray.collect.tasks.sources import Source, find_sources
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.errors import describe
from gym_ray.types.validation import explain

ID_KEYS = ("task_id", "problem_id", "instance_id", "uuid", "id")
"""File beside an environment's class that holds its example tasks."""
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


class _Bad(Exception):
    """What makes the row at hand bad; ``args`` are the problems."""


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
        aliases = {alias: name for name, env in envs.items() for alias in env.aliases}
        self._names = aliases | {name: name for name in envs}
        self._index = TaskIndex()
        self._taken = dict.fromkeys(envs, 0)

    def __iter__(self) -> Iterator[TaskLine | BadRow]:
        max_bytes = int(self._config.max_row_mb * 1e6)
        for position, (source, owner) in enumerate(self.sources):
            for raw in source.rows(max_bytes):
                if self._is_full(owner):
                    break
                place = position << _LINE_BITS | raw.number
                try:
                    task = self._task(raw.raw, raw.problem, owner, place)
                except _Bad as bad:
                    yield BadRow(source.address, raw.number, list(bad.args))
                else:
                    if task is not None:
                        yield task

    def _is_full(self, owner: str | None) -> bool:
        if (limit := self._config.limit) is None:
            return False
        return all(self._taken[name] >= limit for name in ([owner] if owner else self._envs))

    def _task(self, raw: bytes | None, problem: str | None, owner: str | None, place: int) -> TaskLine | None:
        """The row as a task; None when its environment has all it may take."""
        if raw is None:
            raise _Bad(f"row: {problem}")
        row = _parse(raw)
        environment = owner or self._route(row)
        if self._config.limit is not None and self._taken[environment] >= self._config.limit:
            return None
        sent = self._with_prompt(row) or raw
        self._check(row, environment)
        task_id, named = _task_id(row, raw)
        identity = hash64(f"{environment}\0{task_id}".encode())
        content = hash64(raw)
        number, fresh = self._index.number(identity, content, place)
        if not fresh and self._index.content[number] != content:
            raise _Bad(f"{named}: {task_id!r} is also at {self._place(number)}, with different content")
        self._taken[environment] += 1
        return TaskLine(number, fresh, task_id, environment, sent)

    def _route(self, row: dict[str, Any]) -> str:
        agent = row.get("agent_ref")
        claims: dict[str, Any] = {
            "environment": row.get("environment"),
            "agent_ref.name": agent.get("name") if isinstance(agent, dict) else None,
            "task_source": row.get("task_source"),
        }
        for key, name in claims.items():
            if not isinstance(name, str):
                continue
            if name in self._names:
                return self._names[name]
            if len(self._envs) > 1 or key == "environment":
                raise _Bad(f"{key}: {_unknown(name, self._names)}")
        if len(self._envs) == 1:
            return next(iter(self._envs))
        raise _Bad("environment: missing, and several are chosen (agent_ref.name or task_source would do too)")

    def _with_prompt(self, row: dict[str, Any]) -> bytes | None:
        if self.prompt is None:
            return None
        try:
            self.prompt.apply(row)
        except ValueError as error:
            raise _Bad(str(error)) from error
        return orjson.dumps(row)

    def _check(self, row: dict[str, Any], environment: str) -> None:
        try:
            self._servers[environment].Task.model_validate(row)
        except ValidationError as error:
            raise _Bad(*explain(error)) from error
        except Exception as error:  # an author's own validator may raise anything; it costs this row only
            raise _Bad(f"row: {environment}'s Task class raised {describe(error)}") from error

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


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _Bad(f"row: not JSON: {_json_problem(raw, error)}") from error
    if not isinstance(row, dict):
        hint = " (one object per line, not one array)" if isinstance(row, list) else ""
        raise _Bad(f"row: must be a JSON object, is {type(row).__name__}{hint}")
    return row


def _json_problem(raw: bytes, error: orjson.JSONDecodeError) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "the file is UTF-16; task files are UTF-8"
    # `pos` counts characters of the decoded text, and raw bytes may not even decode: look near, leniently.
    rest = raw.decode(errors="replace")[error.pos :].lstrip("-")
    for word in ("NaN", "Infinity"):
        if rest.startswith(word):
            return f"{word} at column {error.pos + 1}; JSON has no such number (write null, or leave the key out)"
    return f"{error.msg.partition(':')[0]} at column {error.pos + 1}"


def _task_id(row: dict[str, Any], raw: bytes) -> tuple[str, str]:
    """The id, and the field it comes from."""
    for key in ID_KEYS:
        value = row.get(key)
        if (isinstance(value, str) and value) or (isinstance(value, int) and not isinstance(value, bool)):
            return str(value), key
    return row_id(raw), "row"


def _unknown(name: str, known: Mapping[str, str]) -> str:
    nearest = difflib.get_close_matches(name, known, 1)
    hint = f"; nearest: {nearest[0]}" if nearest else ""
    return f"no environment `{name}` is chosen (chosen: {', '.join(dict.fromkeys(known.values()))}{hint})"
