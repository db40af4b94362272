"""Pydantic's complaints as plain lines: ``field.path: message``.

Values of fields that may hold secrets are never repeated.
"""

from __future__ import annotations

from pydantic import ValidationError

PRIVATE_FIELDS = frozenset({"api_key", "headers", "extra_body", "env", "engine_args"})
"""Fields whose values are not shown: they may hold keys."""

_SHOWN_CHARS = 60


def explain(error: ValidationError, prefix: str = "") -> list[str]:
    """One line per problem. ``prefix`` is put before each field path (``collect.`` for example)."""
    return [f"{prefix}{_path(problem['loc'])}: {_message(problem)}" for problem in error.errors(include_url=False)]


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".") or "row"


def _message(problem: object) -> str:
    assert isinstance(problem, dict)
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if problem["type"] in ("missing", "value_error", "extra_forbidden") or PRIVATE_FIELDS & set(problem["loc"]):
        return message
    shown = repr(problem["input"])
    return f"{message}, got {shown if len(shown) <= _SHOWN_CHARS else shown[:_SHOWN_CHARS] + '…'}"
