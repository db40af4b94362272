"""Tool calls: whatever the model gets wrong, and whatever a tool does, becomes text for the model."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from gym_ray.resources.deadline import DeadlineExceeded, within
from gym_ray.resources.server import ResourcesServer, Session, UnknownTool
from gym_ray.types.errors import RolloutError, describe
from gym_ray.types.validation import explain

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


@dataclass(frozen=True, slots=True)
class _Entry:
    function: Any
    arguments: type[BaseModel]
    fields: tuple[str, ...]


class Toolbox:
    """The tools of one server instance. ``definitions``: their Responses API definitions, in order."""

    def __init__(self, server: ResourcesServer, timeout_s: float) -> None:
        specs = server.offered_tools()
        self.definitions: list[dict[str, Any]] = [spec.definition for spec in specs.values()]
        self.names = frozenset(specs)
        self._server, self._timeout_s = server, timeout_s
        self._entries = {
            name: _Entry(getattr(server, name), spec.arguments, tuple(spec.arguments.model_fields))
            for name, spec in specs.items()
            if spec.arguments is not None
        }

    async def call(self, state: Session, name: str, arguments: dict[str, Any]) -> str:
        """Run a tool and return its text. Only a ``RolloutError`` that the tool itself raises gets out."""
        entry = self._entries.get(name)
        if entry is None:
            return await self._answered(name, self._server.call_tool(state, name, arguments))
        try:
            checked = entry.arguments.model_validate(arguments)
        except ValidationError as error:
            return error_text(f"bad arguments for {name!r}: {'; '.join(explain(error))}")
        keywords = {field: getattr(checked, field) for field in entry.fields}
        return await self._answered(name, entry.function(state, **keywords))

    async def _answered(self, name: str, work: Coroutine[Any, Any, Any]) -> str:
        try:
            return text_of(await within(self._timeout_s, work))
        except RolloutError:
            raise
        except UnknownTool:
            return error_text(f"unknown tool {name!r}; the tools are: {', '.join(sorted(self.names)) or 'none'}")
        except DeadlineExceeded:
            return error_text(f"{name!r} did not answer within {self._timeout_s:g} s")
        except (Exception, SystemExit) as error:
            return error_text(describe(error))


def error_text(message: str) -> str:
    """How an error is told to the model."""
    return json.dumps({"error": message})


def text_of(result: object) -> str:
    """A tool's result as valid text: a string as it is, anything else as JSON."""
    if not isinstance(result, str):
        return _json(result)
    if result.isascii():
        return result
    # Lone surrogates (a file decoded with `surrogateescape`) could not be stored as JSON later.
    return result.encode(errors="replace").decode()


def _json(result: object) -> str:
    try:
        return orjson.dumps(result, default=_plain, option=_OPTIONS).decode()
    except TypeError:
        # orjson refuses integers beyond 64 bits and lone surrogates.
        return json.dumps(result, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)
