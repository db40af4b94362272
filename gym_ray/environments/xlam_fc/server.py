"""Function calling: reward 1.0 when the first turn makes exactly the calls that the request needs, else 0.0.

The tools come with the row and nobody runs them. The order of the calls is free, and so is prose around them. No
call is the right answer to a row that expects none.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, field_validator

from gym_ray.environments.calls import arguments_of, compared, first_calls, includes, matching
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory


class ExpectedCall(BaseModel):
    """A call that must be made."""

    name: str
    """Name of the function."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Arguments it must have, an object or its JSON text; others may be given too."""

    @field_validator("arguments", mode="before")
    @classmethod
    def _parse(cls, arguments: Any) -> Any:
        return arguments_of({"arguments": "" if arguments is None else arguments})


class XlamFc(ResourcesServer):
    """Requests that take one or several function calls at once, graded as a set."""

    pure = True

    class Task(TaskRow):
        """A request with the calls that answer it, in NeMo Gym's layout."""

        expected_answers: list[ExpectedCall] = Field(default_factory=list)
        """The calls, in any order. An empty list: nothing may be called."""

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 for exactly the expected calls, else 0.0. ``extra``: ``num_expected``, ``num_predicted``,
        ``num_correct`` and ``predicted_calls``, of the first turn."""
        expected, made = task.expected_answers, first_calls(trajectory.items)
        given = [(call.get("name", ""), arguments_of(call)) for call in compared(made)]
        fitting = [
            [position for position, (name, values) in enumerate(given) if fits(want, name, values)] for want in expected
        ]
        correct = len(matching(fitting))
        extra = {
            "num_expected": len(expected),
            "num_predicted": len(made),
            "num_correct": correct,
            "predicted_calls": [{"name": name, "arguments": values or {}} for name, values in given],
        }
        return Reward(1.0 if correct == len(expected) == len(made) else 0.0, extra=extra)


def fits(want: ExpectedCall, name: str, values: dict[str, Any] | None) -> bool:
    """True when a call with this name and these arguments is the wanted one."""
    return name == want.name and includes(values, want.arguments)
