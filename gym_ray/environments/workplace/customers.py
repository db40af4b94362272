"""Customers, and how far talks with them have come."""

from __future__ import annotations

from typing import Any, Literal

from gym_ray.environments.workplace.database import Table
from gym_ray.environments.workplace.values import Check, address, checked, colleague, day, filled, one_of
from gym_ray.resources.server import ResourcesServer, Session, tool

Product = Literal["hardware", "software", "support", "training"]

CHECKS: dict[str, Check] = {
    "name": lambda session, value: filled(value),
    "email": lambda session, value: address(value),
    "product": lambda session, value: one_of(value, ("hardware", "software", "support", "training")),
    "status": lambda session, value: one_of(value, ("lead", "qualified", "won", "lost")),
    "owner": colleague,
    "contacted": lambda session, value: day(value),
}
"""How each field of a customer is checked."""


class Customers(ResourcesServer):
    """Finding and keeping customers."""

    @tool
    async def search_customers(
        self, session: Session, text: str = "", owner: str = "", status: str = "", product: str = "", page: int = 1
    ) -> Any:
        """Find customers by words, owner (email), status (lead, qualified, won, lost) or product."""
        return Table(session, "customers").search(text, page, owner=owner, status=status, product=product)

    @tool
    async def add_customer(self, session: Session, name: str, email: str, product: Product, owner: str) -> Any:
        """Add a lead that an owner (email) looks after."""
        fields = checked(session, CHECKS, {"name": name, "email": email, "product": product, "owner": owner})
        return {"created": Table(session, "customers").add(status="lead", contacted="", **fields)}

    @tool
    async def update_customer(
        self,
        session: Session,
        id: str,
        field: Literal["name", "email", "product", "status", "owner", "contacted"],
        value: str,
    ) -> Any:
        """Change one field of a customer by its id."""
        Table(session, "customers").update(id, **checked(session, CHECKS, {field: value}))
        return {"updated": id}

    @tool
    async def delete_customer(self, session: Session, id: str) -> Any:
        """Delete a customer by its id."""
        Table(session, "customers").delete(id)
        return {"deleted": id}
