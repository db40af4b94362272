"""Structured outputs: reward 1.0 when the answer has the structure that the row asks for, else 0.0.

The answer is the text of the model's messages in one of five formats, or the arguments of one tool call. As in
NeMo Gym only the structure counts, unless the row also says what must stand in it (``expected_object``).
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any, Literal

from pydantic import field_validator, model_validator

from gym_ray.environments.patterns import SlowPattern
from gym_ray.environments.structured_outputs.formats import FormatError, SchemaType, read
from gym_ray.environments.structured_outputs.schema import BadSchema, Structure, TooMuchWork, canonical, structure
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.errors import MaskRollout
from gym_ray.types.items import Item, function_calls, output_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

ErrorType = Literal[
    "empty_response",
    "parse_error",
    "validation_error",
    "content_error",
    "missing_tool_call",
    "multiple_tool_calls",
    "wrong_tool_name",
    "tool_arguments_parse_error",
    "missing_tool_payload_key",
]
"""NeMo Gym's names, and ``content_error``: the structure is right, what stands in it is not."""


class _Wrong(Exception):
    """The answer gets no reward. ``args``: an ErrorType and a message."""


class StructuredOutputs(ResourcesServer):
    """Answers in a given structure, graded against a JSON schema."""

    pure = True

    class Task(TaskRow):
        """A question with a schema for its answer, in NeMo Gym's layout."""

        schema_str: str
        """JSON schema of the answer, as JSON text."""
        schema_type: SchemaType = "json"
        """Format of the answer's text."""
        response_mode: Literal["text", "tool_call"] | None = "text"
        """Where the answer is: in the messages, or in the arguments of the one tool call of the first turn."""
        tool_name: str | None = None
        """tool_call: the tool that must be called; any when absent."""
        tool_payload_key: str | None = None
        """tool_call: the argument that holds the answer; all arguments together when absent."""
        expected_object: Any = None
        """When given, the answer must also equal it."""

        @field_validator("schema_str")
        @classmethod
        def _check_schema(cls, schema_str: str) -> str:
            structure(schema_str)
            return schema_str

        @model_validator(mode="after")
        def _check_expected(self) -> StructuredOutputs.Task:
            if self.expected_object is not None:
                problem = structure(self.schema_str).problem(self.expected_object)
                if problem is not None:
                    raise ValueError(f"`expected_object` does not fit `schema_str`: {problem}")
            return self

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 for the right structure, else 0.0. ``extra``: ``error_type`` (or None), ``error_message``."""
        try:
            wanted = structure(task.schema_str)
            answer = (
                _from_call(task, trajectory.items)
                if task.response_mode == "tool_call"
                else _from_text(task, trajectory.items, wanted)
            )
            _check(answer, wanted, task.expected_object)
        except _Wrong as wrong:
            error_type, message = wrong.args
            return Reward(0.0, extra={"error_type": error_type, "error_message": message})
        except (BadSchema, TooMuchWork, SlowPattern) as error:
            raise MaskRollout(f"structured_outputs:{_KINDS[type(error)]}", str(error)) from None
        return Reward(1.0, extra={"error_type": None, "error_message": None})


def _from_text(task: Any, items: list[Item], wanted: Structure) -> Any:
    text = output_text(items)
    if not text.strip():
        raise _Wrong("empty_response", "there is no text")
    try:
        return read(text, task.schema_type, wanted.schema)
    except FormatError as error:
        raise _Wrong("parse_error", str(error)) from None


def _from_call(task: Any, items: list[Item]) -> Any:
    # A tool loop goes on after the answer, so only what came before the first tool output counts.
    calls = function_calls(takewhile(lambda item: item.get("type") != "function_call_output", items))
    if len(calls) != 1:
        kind: ErrorType = "multiple_tool_calls" if calls else "missing_tool_call"
        raise _Wrong(kind, f"expected one tool call, got {len(calls)}")
    if task.tool_name and calls[0]["name"] != task.tool_name:
        raise _Wrong("wrong_tool_name", f"expected {task.tool_name!r}, got {calls[0]['name']!r}")
    try:
        arguments = read(calls[0]["arguments"], "json", None)
    except FormatError as error:
        raise _Wrong("tool_arguments_parse_error", str(error)) from None
    key = task.tool_payload_key
    if not key:
        return arguments
    if not isinstance(arguments, dict) or key not in arguments:
        raise _Wrong("missing_tool_payload_key", f"there is no argument {key!r}")
    return arguments[key]


def _check(answer: Any, wanted: Structure, expected: Any) -> None:
    try:
        problem = wanted.problem(answer)
        if problem is None and expected is not None and canonical(answer) != canonical(expected):
            raise _Wrong("content_error", "the structure is right, the content is not what was expected")
    except RecursionError:
        problem = "nested too deeply"
    if problem is not None:
        raise _Wrong("validation_error", problem[:200])


_KINDS: dict[type[Exception], str] = {
    BadSchema: "bad_schema",
    TooMuchWork: "too_much_work",
    SlowPattern: "slow_pattern",
}
