"""Scheduling: reward 1.0 for a calendar without conflicts in which each event keeps its constraint, else 0.0.

The model keeps a small calendar over a conversation and shows it as a JSON list with each answer; the last answer is
graded. Any schedule that keeps all constraints is right. A row that expects no event takes any answer.
"""

from __future__ import annotations

import re
from functools import cached_property
from itertools import pairwise
from json import JSONDecodeError, JSONDecoder
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from gym_ray.environments.calendar.times import Window, minutes, window
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.items import final_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

MAX_TRIES = 16
"""Places in an answer at which a list is looked for."""
_LIST_OF_OBJECTS = re.compile(r"\[\s*\{")
_JSON = JSONDecoder()


class ExpectedEvent(BaseModel):
    """What one event must keep to."""

    model_config = ConfigDict(extra="allow", ignored_types=(cached_property,))

    duration: int
    """Minutes it takes, exactly."""
    constraint: str | None
    """``before T``, ``after T``, ``between T and U``, ``at T`` (``11:15am``, ``2pm``), or null."""
    min_time: str
    """Earliest begin, ``HH:MM``."""
    max_time: str
    """Latest end, ``HH:MM``."""

    @cached_property
    def window(self) -> Window:
        """When it may be."""
        return window(self.constraint, self.min_time, self.max_time)

    @model_validator(mode="after")
    def _check_times(self) -> ExpectedEvent:
        window(self.constraint, self.min_time, self.max_time)
        return self


class Calendar(ResourcesServer):
    """Scheduling over a conversation, graded by the calendar in the last answer."""

    pure = True

    class Task(TaskRow):
        """A conversation about a calendar, in NeMo Gym's layout."""

        exp_cal_state: dict[str, ExpectedEvent]
        """What each event must keep to, by event id. Empty: nothing is expected, any answer is right."""

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 for a right calendar, else 0.0. ``extra``: ``reason``, what is wrong with it, or ``pass``."""
        reason = _problem(final_text(trajectory.items[-1:]), task.exp_cal_state)
        return Reward(0.0 if reason else 1.0, extra={"reason": reason or "pass"})


def _problem(text: str, expected: dict[str, ExpectedEvent]) -> str | None:
    if not text:
        return "no_answer"
    if "<think>" in text:
        return "think_found"
    if not expected:
        return None
    events = first_list(text)
    if not events:
        return "no_json_list"
    if {str(event.get("event_id")) for event in events} != expected.keys() or len(events) != len(expected):
        return "different_events"
    try:
        spans = [(minutes(event["start_time"]), event["duration"]) for event in events]
    except (KeyError, ValueError, AttributeError):
        return "unreadable_event"
    for event, (begin, duration) in zip(events, spans, strict=True):
        want = expected[str(event["event_id"])]
        if isinstance(duration, bool) or duration != want.duration or not want.window.holds(begin, begin + duration):
            return "constraint_violated"
    ordered = sorted((begin, begin + duration) for begin, duration in spans)
    return "conflicting_events" if any(first[1] > second[0] for first, second in pairwise(ordered)) else None


def first_list(text: str) -> list[dict[str, Any]] | None:
    """The first JSON list in ``text`` whose members are all objects, or None."""
    for number, match in enumerate(_LIST_OF_OBJECTS.finditer(text)):
        if number == MAX_TRIES:
            break
        try:
            found, _ = _JSON.raw_decode(text, match.start())
        except (JSONDecodeError, ValueError, RecursionError):
            continue
        if all(isinstance(member, dict) for member in found):
            return list(found)
    return None
