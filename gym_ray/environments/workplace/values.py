"""Values that tools accept, in the one form the database keeps. Whatever does not fit is ``Refused``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from gym_ray.environments.workplace.database import Refused, Session, Table

MAX_MINUTES = 24 * 60
Check = Callable[[Session, Any], str | int]
"""From a value as given to the value as kept."""


def checked(session: Session, checks: Mapping[str, Check], fields: Mapping[str, Any]) -> dict[str, str | int]:
    """Each field's value as its check returns it."""
    return {name: checks[name](session, value) for name, value in fields.items()}


def moment(text: str) -> str:
    """``2026-03-04 10:00``, from any ISO 8601 date and time."""
    try:
        return datetime.fromisoformat(text.strip()).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        raise Refused(f"{text!r} is no date and time like 2026-03-04 10:00") from None


def day(text: str) -> str:
    """``2026-03-04``."""
    try:
        return date.fromisoformat(text.strip()).isoformat()
    except ValueError:
        raise Refused(f"{text!r} is no date like 2026-03-04") from None


def whole(number: int | str, most: int = 1_000_000) -> int:
    """A whole number from 1 to ``most``."""
    try:
        value = int(number)
    except ValueError:
        value = 0
    if not 1 <= value <= most:
        raise Refused(f"{str(number)[:40]!r} is no whole number from 1 to {most}")
    return value


def one_of(text: str, allowed: Sequence[str]) -> str:
    """A word of a fixed list, in lower case."""
    word = text.strip().lower()
    if word not in allowed:
        raise Refused(f"{text!r} is none of {', '.join(allowed)}")
    return word


def address(text: str) -> str:
    """An email address, in lower case."""
    value = text.strip().lower()
    name, at, domain = value.partition("@")
    if not (name and at and "." in domain) or any(character.isspace() for character in value):
        raise Refused(f"{text!r} is no email address")
    return value


def colleague(session: Session, text: str) -> str:
    """The address of somebody in the directory, in lower case."""
    value = address(text)
    if all(person["email"] != value for _, person in Table(session, "people")):
        raise Refused(f"nobody here has the address {text!r}; find_person gives addresses")
    return value


def filled(text: str) -> str:
    """Text that is not blank, without white space around it."""
    value = text.strip()
    if not value:
        raise Refused("the text is empty")
    return value
