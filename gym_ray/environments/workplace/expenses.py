"""Expenses that people file and that get approved or rejected. Amounts are whole euros."""

from __future__ import annotations

from typing import Any, Literal

from gym_ray.environments.workplace.database import Refused, Table
from gym_ray.environments.workplace.values import Check, checked, colleague, day, whole
from gym_ray.resources.server import ResourcesServer, Session, tool

Category = Literal["travel", "meals", "supplies", "software"]

CHECKS: dict[str, Check] = {
    "owner": colleague,
    "amount": lambda session, value: whole(value),
    "spent": lambda session, value: day(value),
}
"""How each field of an expense is checked."""


class Expenses(ResourcesServer):
    """Finding, filing and deciding on expenses."""

    @tool
    async def search_expenses(
        self, session: Session, owner: str = "", status: str = "", category: str = "", page: int = 1
    ) -> Any:
        """Find expenses by owner (email), status (filed, approved, rejected) or category."""
        return Table(session, "expenses").search("", page, owner=owner, status=status, category=category)

    @tool
    async def file_expense(self, session: Session, owner: str, category: Category, amount: int, spent: str) -> Any:
        """File an expense of an owner (email). Spent: YYYY-MM-DD."""
        fields = checked(session, CHECKS, {"owner": owner, "amount": amount, "spent": spent})
        return {"created": Table(session, "expenses").add(category=category, status="filed", **fields)}

    @tool
    async def decide_expense(self, session: Session, id: str, decision: Literal["approved", "rejected"]) -> Any:
        """Approve or reject a filed expense by its id."""
        table = Table(session, "expenses")
        if table.get(id)["status"] != "filed":
            raise Refused(f"expense {id!r} is already {table.get(id)['status']}")
        table.update(id, status=decision)
        return {"updated": id}

    @tool
    async def withdraw_expense(self, session: Session, id: str) -> Any:
        """Remove an expense by its id."""
        Table(session, "expenses").delete(id)
        return {"deleted": id}
