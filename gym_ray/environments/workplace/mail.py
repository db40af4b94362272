"""The user's mailbox. ``person`` is the sender of what is in the inbox, the recipient of what was sent."""

from __future__ import annotations

from typing import Any, Literal

from gym_ray.environments.workplace.database import NOW, Table
from gym_ray.environments.workplace.values import address, filled
from gym_ray.resources.server import ResourcesServer, Session, tool


class Mail(ResourcesServer):
    """Reading and writing email."""

    @tool
    async def search_emails(
        self, session: Session, text: str = "", folder: Literal["", "inbox", "sent"] = "", page: int = 1
    ) -> Any:
        """Find emails by words of the person, subject or body."""
        return Table(session, "emails").search(text, page, folder=folder)

    @tool
    async def send_email(self, session: Session, to: str, subject: str, body: str) -> Any:
        """Send an email to an address."""
        return _send(session, to, subject, body)

    @tool
    async def reply_email(self, session: Session, id: str, body: str) -> Any:
        """Answer an email by its id."""
        email = Table(session, "emails").get(id)
        return _send(session, str(email["person"]), f"Re: {email['subject']}", body)

    @tool
    async def forward_email(self, session: Session, id: str, to: str) -> Any:
        """Forward an email by its id to an address."""
        email = Table(session, "emails").get(id)
        return _send(session, to, f"Fwd: {email['subject']}", str(email["body"]))

    @tool
    async def delete_email(self, session: Session, id: str) -> Any:
        """Delete an email by its id."""
        Table(session, "emails").delete(id)
        return {"deleted": id}


def _send(session: Session, to: str, subject: str, body: str) -> dict[str, str]:
    key = Table(session, "emails").add(
        folder="sent", person=address(to), subject=filled(subject), body=filled(body), sent=NOW
    )
    return {"sent": key}
