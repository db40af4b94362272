"""What makes a row a task: which environment it is for, whether it fits, what it is called.

One row at a time, so that files and trainers are held to the same rules (``reader`` says which). A row that
breaks one raises :class:`BadTask`, whose ``args`` are the problems, one per line.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from gym_ray.collect.tasks.identity import row_id
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.errors import describe
from gym_ray.types.validation import explain

ID_KEYS = ("task_id", "problem_id", "instance_id", "uuid", "id")


class BadTask(Exception):
    """What makes the row at hand bad; ``args`` are the problems."""


class TaskRules:
    """The rules of one set of environments."""

    def __init__(self, envs: Mapping[str, EnvironmentConfig], servers: Mapping[str, type[ResourcesServer]]) -> None:
        self._envs, self._servers = envs, servers
        aliases = {alias: name for name, env in envs.items() for alias in env.aliases}
        self._names = aliases | {name: name for name in envs}

    def route(self, row: dict[str, Any]) -> str:
        """The environment that the row asks for."""
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
                raise BadTask(f"{key}: {_unknown(name, self._names)}")
        if len(self._envs) == 1:
            return next(iter(self._envs))
        raise BadTask("environment: missing, and several are chosen (agent_ref.name or task_source would do too)")

    def adopted(self, row: dict[str, Any], environment: str) -> dict[str, Any]:
        """The row in the shape that its environment wants."""
        try:
            return self._servers[environment].adopt(row)
        except Exception as error:  # an author's own code may raise anything; it costs this row only
            raise BadTask(f"row: {describe(error)}") from error

    def check(self, row: dict[str, Any], environment: str) -> None:
        """Hold the row against the environment's Task class."""
        try:
            self._servers[environment].Task.model_validate(row)
        except ValidationError as error:
            raise BadTask(*explain(error)) from error
        except Exception as error:  # an author's own validator may raise anything; it costs this row only
            raise BadTask(f"row: {environment}'s Task class raised {describe(error)}") from error


def parse_row(raw: bytes) -> dict[str, Any]:
    """The row as a JSON object."""
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadTask(f"row: not JSON: {_json_problem(raw, error)}") from error
    if not isinstance(row, dict):
        hint = " (one object per line, not one array)" if isinstance(row, list) else ""
        raise BadTask(f"row: must be a JSON object, is {type(row).__name__}{hint}")
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


def task_id_of(row: dict[str, Any], raw: bytes) -> tuple[str, str]:
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
