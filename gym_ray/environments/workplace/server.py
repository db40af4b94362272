"""Office work: reward 1.0 when the office ends up in the state that the right calls lead to, else 0.0.

How the state was reached does not matter, nor what the model says. Verification applies the row's ``ground_truth``
calls to a fresh session and compares the net changes of both (``database.net_changes``). Calls that change nothing
(searches) are free; a change too many is as wrong as one too few.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError, field_validator

from gym_ray.environments.workplace.calendar import Calendar
from gym_ray.environments.workplace.customers import Customers
from gym_ray.environments.workplace.database import Refused, differences, net_changes, new_session
from gym_ray.environments.workplace.directory import Directory
from gym_ray.environments.workplace.expenses import Expenses
from gym_ray.environments.workplace.mail import Mail
from gym_ray.environments.workplace.projects import Projects
from gym_ray.resources.schema import ToolSpec
from gym_ray.resources.server import Session
from gym_ray.types.errors import MaskRollout
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

SHOWN_DIFFERENCES = 10
"""Differences that are kept for the reader of a rollout."""


class Call(BaseModel):
    """A tool call. ``arguments``: a JSON object, or its text."""

    name: str
    arguments: dict[str, Any]

    @field_validator("arguments", mode="before")
    @classmethod
    def _parse(cls, arguments: Any) -> Any:
        return orjson.loads(arguments) if isinstance(arguments, str) else arguments


class Workplace(Expenses, Customers, Projects, Calendar, Mail, Directory):
    """Office work through tools, graded by the state in which the office ends up.

    Options:
        toolset: names of the tools to offer; all when absent. Fewer tools make shorter prompts.
    """

    class Task(TaskRow):
        """A request, and the calls that fulfil it."""

        ground_truth: list[Call]
        """Calls whose effect is the right one. An empty list: nothing may change."""

        @field_validator("ground_truth")
        @classmethod
        def _check_calls(cls, calls: list[Call]) -> list[Call]:
            for position, call in enumerate(calls):
                try:
                    _arguments(call)
                except (KeyError, ValidationError) as error:
                    raise ValueError(f"call {position}: {_problem(call, error)}") from None
            return calls

    def __init__(self, toolset: Sequence[str] | None = None) -> None:
        super().__init__()
        unknown = [name for name in toolset or () if name not in _tools()]
        if unknown:
            raise ValueError(f"toolset: no tool {', '.join(unknown)}; there are {', '.join(_tools())}")
        self._toolset = None if toolset is None else frozenset(toolset)

    def offered_tools(self) -> dict[str, ToolSpec]:
        """The tools of ``toolset``."""
        return {name: spec for name, spec in self.tools().items() if self._toolset is None or name in self._toolset}

    async def seed(self, task: Any) -> Session:
        """An office in which nothing has happened yet."""
        return new_session()

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 for the right final state, else 0.0. ``extra``: ``differences`` between the two states, in words."""
        expected = await self._after(task.ground_truth)
        found = differences(expected, net_changes(session))
        return Reward(0.0 if found else 1.0, extra={"differences": found[:SHOWN_DIFFERENCES]})

    async def _after(self, calls: list[Call]) -> dict[str, Any]:
        """Net changes of a fresh office after ``calls``."""
        session = new_session()
        for call in calls:
            try:
                await getattr(self, call.name)(session, **_arguments(call))
            except Refused as error:
                raise MaskRollout("workplace:bad_ground_truth", f"{call.name}: {error}") from None
        return net_changes(session)


@cache
def _tools() -> dict[str, type[BaseModel]]:
    """The arguments of each tool."""
    return {name: spec.arguments for name, spec in Workplace.tools().items() if spec.arguments is not None}


def _arguments(call: Call) -> dict[str, Any]:
    """The call's arguments, checked against the tool's signature, defaults filled in."""
    checked = _tools()[call.name].model_validate(call.arguments)
    return {name: getattr(checked, name) for name in type(checked).model_fields}


def _problem(call: Call, error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no tool {call.name!r} (was this row made for another office?)"
    return f"{call.name}: {'; '.join(problem['msg'] for problem in error.errors())}"  # type: ignore[attr-defined]
