"""Who works here. Nothing in it changes."""

from __future__ import annotations

from typing import Any, Literal

from gym_ray.environments.workplace.database import Table
from gym_ray.resources.server import ResourcesServer, Session, tool

Team = Literal["sales", "design", "engineering", "finance"]


class Directory(ResourcesServer):
    """Looking up people."""

    @tool
    async def find_person(self, session: Session, name: str) -> Any:
        """Find people by name and get their email address, team and role."""
        return Table(session, "people").search(name)["records"]

    @tool
    async def list_team(self, session: Session, team: Team) -> Any:
        """List the people of a team with their email addresses."""
        return [
            {"name": person["name"], "email": person["email"]}
            for _, person in Table(session, "people")
            if person["team"] == team
        ]
