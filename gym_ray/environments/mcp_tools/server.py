"""The tools of any MCP server: a program on stdio, or an address (streamable HTTP). Graded by answer, calls, or both.

The server's tools are read when the environment is made, and offered with each request. Each rollout gets a connection
of its own, for stdio a process of its own, so that what one does no other sees; ``shared`` saves that for servers
without state. Subclass it for another ``verify``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field, model_validator

from gym_ray.environments.boxed import last_boxed
from gym_ray.environments.mcp_tools.connection import Connection, Target, public_name, tools_of
from gym_ray.resources.schema import ToolSpec
from gym_ray.resources.server import ResourcesServer, Session, UnknownTool
from gym_ray.types.errors import UserError
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

EXAMPLE = (sys.executable, "-m", "gym_ray.environments.mcp_tools.example")
"""A small server of ours: unit conversion and dates."""


class ExpectedCall(BaseModel):
    """A tool call that must be made."""

    name: str
    """The tool."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Equal to those of the call, after JSON parsing."""


class McpTools(ResourcesServer):
    """The tools of an MCP server.

    Options:
        command: the program to start, with its arguments, as a list. Neither this nor `url`: the example server.
        url: an address of a server that runs already.
        env: environment variables of the program.
        token_env: name of the variable that holds the bearer token for `url`.
        shared: one connection for all rollouts of this process, for servers without state.
        only: offer these tools and no others.
        start_s: seconds the server may take to answer its first question.
    """

    class Task(TaskRow):
        """A question for which the tools are needed."""

        expected_answer: str | None = None
        """Compared with the last `\\boxed{}`, else the last message; as numbers, or without case and spare space."""
        expected_calls: list[ExpectedCall] | None = None
        """Calls that must have been made, in this order; others may stand between."""

        @model_validator(mode="after")
        def _check(self) -> McpTools.Task:
            if self.expected_answer is None and not self.expected_calls:
                raise ValueError("give `expected_answer` or `expected_calls`: without them there is nothing to grade")
            return self

    def __init__(
        self,
        command: Sequence[str] | None = None,
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        token_env: str | None = None,
        shared: bool = False,
        only: Sequence[str] | None = None,
        start_s: float = 60.0,
    ) -> None:
        super().__init__()
        if command and url:
            raise ValueError("give `command` or `url`, not both")
        program = () if url else tuple(command or EXAMPLE)
        self._target = Target(program, url or "", dict(env or {}), token_env, start_s)
        self._shared = shared
        self._names, self._specs = _offered(tools_of(self._target), only)
        self._connection: Connection | None = None

    def offered_tools(self) -> dict[str, ToolSpec]:
        """The server's."""
        return self._specs

    async def call_tool(self, session: Session, name: str, arguments: dict[str, Any]) -> str:
        """Passed on to the server."""
        if name not in self._names:
            raise UnknownTool(name)
        return await self._connected(session).call(self._names[name], arguments)

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 when the answer is right and the expected calls were made, as far as the row has them; else 0.0.

        ``extra``: ``extracted_answer``, ``calls_made`` (null where the row expects none).
        """
        text = trajectory.text.rpartition("</think>")[2].strip()
        boxed = last_boxed(text)
        answer = text if boxed is None else boxed.strip()
        right = task.expected_answer is None or _plain(answer) == _plain(task.expected_answer)
        made = None if not task.expected_calls else _made(task.expected_calls, trajectory)
        return Reward(float(right and made is not False), extra={"extracted_answer": answer, "calls_made": made})

    async def close(self, session: Session) -> None:
        """End the rollout's own connection."""
        connection = session.pop("connection", None)
        if connection is not None:
            await connection.close()

    async def shutdown(self) -> None:
        """End the shared connection."""
        if self._connection is not None:
            await self._connection.close()

    def _connected(self, session: Session) -> Connection:
        """The rollout's own, opened at its first call, or the one that they share."""
        if self._shared:
            if self._connection is None or not self._connection.alive:
                self._connection = Connection(self._target)
            return self._connection
        if "connection" not in session:
            session["connection"] = Connection(self._target)
        connection: Connection = session["connection"]
        return connection


def _offered(tools: Sequence[Any], only: Sequence[str] | None) -> tuple[dict[str, str], dict[str, ToolSpec]]:
    """Names as the server has them, and definitions, by the names that models see."""
    known = {public_name(tool.name): tool for tool in tools}
    if len(known) < len(tools):
        raise UserError("mcp_tools: two tools have the same name once odd characters are replaced")
    if missing := sorted(set(only or ()) - known.keys()):
        raise UserError(f"mcp_tools: no tool {missing[0]!r}; the server has {', '.join(known)}")
    chosen = {name: tool for name, tool in known.items() if only is None or name in only}
    return {name: tool.name for name, tool in chosen.items()}, {
        name: _spec(name, tool) for name, tool in chosen.items()
    }


def _spec(name: str, tool: Any) -> ToolSpec:
    described = tool.description or tool.title or name
    schema = tool.input_schema or {"type": "object", "properties": {}}
    definition = {"type": "function", "name": name, "description": described, "parameters": schema, "strict": False}
    return ToolSpec(name, definition)


def _made(expected: Sequence[ExpectedCall], trajectory: Trajectory) -> bool:
    """Whether the expected calls are among those made, in order."""
    rest = list(expected)
    for call in trajectory.calls:
        if rest and call["name"] == rest[0].name and _arguments(call) == rest[0].arguments:
            rest.pop(0)
    return not rest


def _arguments(call: Mapping[str, Any]) -> Any:
    try:
        return json.loads(call.get("arguments") or "{}")
    except ValueError:
        return None


def _plain(answer: str) -> float | str:
    try:
        return float(answer.replace(",", ""))
    except ValueError:
        return " ".join(answer.casefold().split()).rstrip(".")
