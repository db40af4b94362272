"""JSON schemas of task rows: made strict, compiled once, and validated within bounds.

Draft 2020-12, ``format`` as an annotation. Strict as NeMo Gym makes them: an object that lists ``properties``
requires all of them and allows no other, wherever it stands except inside the lists of ``anyOf``, ``oneOf``,
``allOf`` and ``prefixItems``. Bounds, because the data is a model's: a pattern has a deadline, following references
has a budget, uniqueness is checked by hashing, nothing is ever fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import SchemaError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from gym_ray.environments.patterns import is_valid, occurs

MAX_REFERENCES = 500
"""References followed in one validation. Recursive schemas can take exponential time otherwise."""

_SCHEMA_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SCHEMAS = (
    "items",
    "additionalProperties",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
    "unevaluatedItems",
)

_references: ContextVar[int] = ContextVar("references")


class BadSchema(ValueError):
    """The row's schema is no usable JSON schema."""


class TooMuchWork(Exception):
    """Validation was given up, so nothing is known about the data."""


class Structure:
    """One compiled schema. ``schema``: the strict form."""

    def __init__(self, schema: Any) -> None:
        self.schema = _strict(schema)
        try:
            Draft202012Validator.check_schema(self.schema)
            self._validator = _Validator(self.schema, registry=Registry())
            self.problem(None)
        except SchemaError as error:
            raise BadSchema(error.message[:200]) from None
        except Unresolvable as error:
            raise BadSchema(f"cannot resolve the reference {error.ref!r}") from None
        except (RecursionError, TooMuchWork):
            raise BadSchema("refers to itself without end") from None

    def problem(self, data: Any) -> str | None:
        """The first reason found why ``data`` does not fit, or None when it does.

        Raises:
            TooMuchWork: too many references to follow.
            SlowPattern: a ``pattern`` did not end in time.
            RecursionError: data nested too deeply.
        """
        _references.set(MAX_REFERENCES)
        error = next(self._validator.iter_errors(data), None)
        return None if error is None else str(error.message)


@lru_cache(maxsize=1024)
def structure(schema_str: str) -> Structure:
    """The compiled form of a row's ``schema_str``.

    Raises:
        BadSchema: it is not JSON, or no schema, or has a pattern or reference that cannot work.
    """
    try:
        return Structure(orjson.loads(schema_str))
    except orjson.JSONDecodeError as error:
        raise BadSchema(f"not JSON: {error}") from None


def canonical(data: Any) -> Any:
    """A hashable value, equal for data that JSON Schema calls equal: ``1`` is ``1.0`` and is not ``true``."""
    if isinstance(data, dict):
        return ("object", frozenset((key, canonical(value)) for key, value in data.items()))
    if isinstance(data, list):
        return ("array", tuple(map(canonical, data)))
    return (type(data).__name__ if not isinstance(data, int | float) or isinstance(data, bool) else "number", data)


def _strict(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    # `$schema` goes: with another draft in it, a reference to the root would switch to that draft's validator.
    strict = {key: value for key, value in schema.items() if key != "$schema"}
    if isinstance(strict.get("properties"), dict):
        strict |= {"required": list(strict["properties"]), "additionalProperties": False}
    for key in _SCHEMA_MAPS:
        if isinstance(strict.get(key), dict):
            strict[key] = {name: _strict(part) for name, part in strict[key].items()}
    for key in _SCHEMAS:
        if isinstance(strict.get(key), dict):
            strict[key] = _strict(strict[key])
    return strict


def _occurs(pattern: str, text: Any) -> bool:
    if not is_valid(pattern):
        raise BadSchema(f"{pattern!r} is no valid pattern")
    return occurs(pattern, str(text))


def _reference(validator: Any, reference: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    left = _references.get() - 1
    _references.set(left)
    if left < 0:
        raise TooMuchWork(f"more than {MAX_REFERENCES} references to follow")
    yield from Draft202012Validator.VALIDATORS["$ref"](validator, reference, instance, schema) or ()


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not _occurs(pattern, instance):
        yield ValidationError(f"{instance[:80]!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, rules: dict[str, Any], instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, rule in rules.items():
        for name, value in instance.items():
            if _occurs(pattern, name):
                yield from validator.descend(value, rule, path=name, schema_path=pattern)


def _additional(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extra = [name for name in instance if name not in known and not any(_occurs(p, name) for p in patterns)]
    if rule is False and extra:
        yield ValidationError(f"unexpected: {', '.join(map(repr, extra[:5]))}")
    elif isinstance(rule, dict):
        for name in extra:
            yield from validator.descend(instance[name], rule, path=name)


def _unique(validator: Any, wanted: bool, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if wanted and validator.is_type(instance, "array") and len(set(map(canonical, instance))) < len(instance):
        yield ValidationError("the array has repeated members")


_Validator: Any = extend(
    Draft202012Validator,
    {
        "$ref": _reference,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional,
        "uniqueItems": _unique,
    },
)
