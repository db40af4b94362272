"""The kinds of instruction: a name, its arguments, and a function that says whether a text follows it.

A check is an ordinary function ``check(text, *, argument, ...) -> bool``; its signature says what arguments a row must
give. :func:`bind` does all that can be done before there is an answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, BeforeValidator, create_model

Check = Callable[..., bool]
"""``check(text, **arguments)``: does the text follow the instruction?"""
Follows = Callable[[str], bool]
"""A check with its arguments."""
Relation = Literal["less than", "at least"]
Word = Annotated[str, BeforeValidator(lambda value: value[0] if isinstance(value, list) and value else value)]
"""A word; some data sets wrap it in a list."""

KINDS: dict[str, Check] = {}
"""All checks by the instruction's id."""


def kind(*names: str) -> Callable[[Check], Check]:
    """Register a check under its id, and others that mean the same."""

    def register(check: Check) -> Check:
        for name in names:
            assert name not in KINDS, name
            KINDS[name] = check
        return check

    return register


def bind(name: str, arguments: Mapping[str, Any]) -> Follows:
    """The check called ``name`` with its arguments; null ones count as absent, unknown ones are ignored.

    Raises:
        ValueError: no such kind; pydantic's ``ValidationError``: an argument is missing or of the wrong type.
    """
    check = KINDS.get(name)
    if check is None:
        raise ValueError(f"there is no check for `{name}`")
    given = {key: value for key, value in arguments.items() if value is not None}
    checked = _arguments(check).model_validate(given)
    return partial(check, **{key: getattr(checked, key) for key in type(checked).model_fields})


@cache
def _arguments(check: Check) -> type[BaseModel]:
    hints = get_type_hints(check, include_extras=True)
    parameters = list(inspect.signature(check).parameters.values())[1:]
    fields: dict[str, Any] = {
        parameter.name: (hints[parameter.name], ... if parameter.default is parameter.empty else parameter.default)
        for parameter in parameters
    }
    return create_model(check.__name__, **fields)
