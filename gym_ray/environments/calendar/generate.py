"""Calendar tasks: two events in one message, or four to six that arrive one by one and have to be moved about."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from gym_ray.environments.calendar.times import window
from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows
from gym_ray.types.items import assistant_message

SYSTEM = (
    "Show the whole calendar as a JSON list and nothing else: "
    '[{"event_id": 9, "event_name": "Walk", "start_time": "12:00", "duration": 30}]. '
    "Events lie within 10:00-16:00 and never overlap. Keep every wish; move other events when you must. "
    "`before` means ends by, `after` begins then or later, `at` begins then."
)
OPENS, CLOSES, STEP = 600, 960, 15
TITLES = ["Lunch", "Review", "Call", "Training", "Interview", "Planning", "Checkup", "Workshop", "Walk", "Reading"]
LEVELS = {Difficulty.EASY: (1, 2), Difficulty.MEDIUM: (2, 4), Difficulty.HARD: (5, 6)}
"""Fewest and most events of a row."""


@dataclass(slots=True)
class _Slot:
    """An event with a place that is known to fit."""

    title: str
    begin: int
    duration: int
    constraint: str | None


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in NeMo Gym's ``calendar`` layout. See :func:`~gym_ray.environments.generate.distinct_rows`."""
    level = Difficulty(difficulty)
    return distinct_rows("calendar", count, seed, level, lambda rng: _row(rng, level))


def solve(row: Row) -> list[Turn]:
    """One turn: the first calendar that a search through all quarter hours finds."""
    events = _search(sorted(row["exp_cal_state"].items(), key=lambda pair: _room(pair[1])), [])
    assert events is not None, "every row is made from a calendar that fits"
    shown = [{"event_id": key, "event_name": "Event", "start_time": _clock(at), "duration": d} for key, at, d in events]
    return [[assistant_message(orjson.dumps(shown).decode())]]


def _row(rng: random.Random, level: Difficulty) -> Row:
    slots = _slots(rng, rng.randint(*LEVELS[level]))
    rng.shuffle(slots)
    wishes = [f"{number}: {slot.title}, {slot.duration} min{_wish(slot)}." for number, slot in enumerate(slots)]
    messages = [{"role": "system", "content": SYSTEM}]
    if level is Difficulty.HARD:
        early, wishes = wishes[:2], wishes[2:]
        shown = orjson.dumps([_event(number, slot, slot.begin) for number, slot in enumerate(slots[:2])]).decode()
        messages += [{"role": "user", "content": " ".join(early)}, {"role": "assistant", "content": shown}]
    messages.append({"role": "user", "content": " ".join(wishes)})
    expected = {
        str(number): {
            "event_id": number,
            "duration": slot.duration,
            "constraint": slot.constraint,
            "min_time": _clock(OPENS),
            "max_time": _clock(CLOSES),
        }
        for number, slot in enumerate(slots)
    }
    return {"responses_create_params": {"input": messages}, "exp_cal_state": expected}


def _slots(rng: random.Random, many: int) -> list[_Slot]:
    """``many`` events one after the other, with gaps, each with a wish that its place fulfils."""
    durations = [rng.choice((15, 30, 45, 60) if many > 3 else (30, 45, 60, 75, 90)) for _ in range(many)]
    spare = (CLOSES - OPENS - sum(durations)) // STEP
    cuts = sorted(rng.randint(0, spare) for _ in range(many))
    slots, used = [], 0
    for title, duration, cut in zip(rng.sample(TITLES, many), durations, cuts, strict=True):
        begin = OPENS + used + cut * STEP
        slots.append(_Slot(title, begin, duration, _constraint(rng, begin, begin + duration)))
        used += duration
    return slots


def _constraint(rng: random.Random, begin: int, end: int) -> str | None:
    early, late = max(OPENS, begin - STEP * rng.randint(0, 4)), min(CLOSES, end + STEP * rng.randint(0, 4))
    choices = [f"before {_spoken(late)}", f"after {_spoken(early)}", f"at {_spoken(begin)}", None]
    return rng.choice([*choices, f"between {_spoken(early)} and {_spoken(late)}"])


def _search(
    todo: list[tuple[str, dict[str, Any]]], placed: list[tuple[int, int, int]]
) -> list[tuple[int, int, int]] | None:
    """Backtracking over quarter hours: ``(event id, begin, duration)`` of all events, or None."""
    if not todo:
        return sorted(placed)
    (key, event), *rest = todo
    allowed, length = window(event["constraint"], event["min_time"], event["max_time"]), event["duration"]
    for begin in range(OPENS, CLOSES, STEP):
        free = all(begin + length <= at or at + other <= begin for _, at, other in placed)
        if free and allowed.holds(begin, begin + length):
            found = _search(rest, [*placed, (int(key), begin, length)])
            if found is not None:
                return found
    return None


def _room(event: dict[str, Any]) -> int:
    allowed = window(event["constraint"], event["min_time"], event["max_time"])
    return 0 if allowed.start is not None else allowed.latest - allowed.earliest - event["duration"]


def _event(number: int, slot: _Slot, begin: int) -> dict[str, Any]:
    return {"event_id": number, "event_name": slot.title, "start_time": _clock(begin), "duration": slot.duration}


def _wish(slot: _Slot) -> str:
    return f", {slot.constraint}" if slot.constraint else ""


def _clock(at: int) -> str:
    return f"{at // 60:02d}:{at % 60:02d}"


def _spoken(at: int) -> str:
    hour, minute = at // 60, at % 60
    return f"{(hour - 1) % 12 + 1}{f':{minute:02d}' if minute else ''}{'am' if hour < 12 else 'pm'}"
