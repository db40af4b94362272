"""Tasks on project boards."""

from __future__ import annotations

from typing import Any, Literal

from gym_ray.environments.workplace.database import Table
from gym_ray.environments.workplace.values import Check, checked, colleague, day, filled, one_of
from gym_ray.resources.server import ResourcesServer, Session, tool

Board = Literal["web", "mobile", "backoffice"]

CHECKS: dict[str, Check] = {
    "title": lambda session, value: filled(value),
    "owner": colleague,
    "due": lambda session, value: day(value),
    "status": lambda session, value: one_of(value, ("todo", "doing", "review", "done")),
    "board": lambda session, value: one_of(value, ("web", "mobile", "backoffice")),
}
"""How each field of a task is checked."""


class Projects(ResourcesServer):
    """Finding and keeping tasks."""

    @tool
    async def search_tasks(
        self, session: Session, text: str = "", owner: str = "", status: str = "", board: str = "", page: int = 1
    ) -> Any:
        """Find tasks by words, owner (email), status (todo, doing, review, done) or board."""
        return Table(session, "tasks").search(text, page, owner=owner, status=status, board=board)

    @tool
    async def create_task(self, session: Session, title: str, owner: str, due: str, board: Board) -> Any:
        """Create a task for an owner (email). Due: YYYY-MM-DD."""
        fields = checked(session, CHECKS, {"title": title, "owner": owner, "due": due, "board": board})
        return {"created": Table(session, "tasks").add(status="todo", **fields)}

    @tool
    async def update_task(
        self, session: Session, id: str, field: Literal["title", "owner", "status", "due", "board"], value: str
    ) -> Any:
        """Change one field of a task by its id."""
        Table(session, "tasks").update(id, **checked(session, CHECKS, {field: value}))
        return {"updated": id}

    @tool
    async def delete_task(self, session: Session, id: str) -> Any:
        """Delete a task by its id."""
        Table(session, "tasks").delete(id)
        return {"deleted": id}
