"""The user's calendar: one other person per event. Working hours are 09:00 to 17:00."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from gym_ray.environments.workplace.database import Table
from gym_ray.environments.workplace.values import MAX_MINUTES, Check, checked, colleague, day, filled, moment, whole
from gym_ray.resources.server import ResourcesServer, Session, tool

CHECKS: dict[str, Check] = {
    "title": lambda session, value: filled(value),
    "person": colleague,
    "start": lambda session, value: moment(value),
    "minutes": lambda session, value: whole(value, MAX_MINUTES),
}
"""How each field of an event is checked."""


class Calendar(ResourcesServer):
    """Finding and arranging events."""

    @tool
    async def search_events(self, session: Session, text: str = "", page: int = 1) -> Any:
        """Find events by words of the title, person or date."""
        return Table(session, "events").search(text, page)

    @tool
    async def free_times(self, session: Session, person: str, date: str) -> Any:
        """List the hours of a date at which a person (email) has no event."""
        who, when = colleague(session, person), day(date)
        busy = [_span(event) for _, event in Table(session, "events") if event["person"] == who]
        slots = [datetime.fromisoformat(f"{when} {hour:02d}:00") for hour in range(9, 17)]
        hour = timedelta(hours=1)
        return [f"{slot:%H:%M}" for slot in slots if all(end <= slot or start >= slot + hour for start, end in busy)]

    @tool
    async def create_event(self, session: Session, title: str, person: str, start: str, minutes: int) -> Any:
        """Create an event with a person (email). Start: YYYY-MM-DD HH:MM."""
        fields = checked(session, CHECKS, {"title": title, "person": person, "start": start, "minutes": minutes})
        return {"created": Table(session, "events").add(**fields)}

    @tool
    async def update_event(
        self, session: Session, id: str, field: Literal["title", "person", "start", "minutes"], value: str
    ) -> Any:
        """Change one field of an event by its id."""
        Table(session, "events").update(id, **checked(session, CHECKS, {field: value}))
        return {"updated": id}

    @tool
    async def delete_event(self, session: Session, id: str) -> Any:
        """Cancel an event by its id."""
        Table(session, "events").delete(id)
        return {"deleted": id}


def _span(event: dict[str, Any]) -> tuple[datetime, datetime]:
    start = datetime.fromisoformat(event["start"])
    return start, start + timedelta(minutes=event["minutes"])
