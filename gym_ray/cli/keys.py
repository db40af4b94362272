"""Every key that a settings record has: what the command line may set, and what ``--help`` prints.

The records are the only place where keys, types, defaults and help texts are written. A key below
``envs.*.`` stands for one environment's, one below ``judges.*.`` for one judge's; a key of an open mapping
(``model.sampling``) takes any further name.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gym_ray.types.settings import Settings

CLOSE = 0.6
"""difflib ratio from which a name counts as near enough to be suggested."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key. ``default`` is None for required ones (``required``) and unset ones."""

    name: str
    annotation: Any
    default: Any
    required: bool
    help: str

    @property
    def section(self) -> str:
        """All but the last part of the name."""
        return self.name.rpartition(".")[0]

    @property
    def is_open(self) -> bool:
        """A mapping that takes any name below it."""
        return typing.get_origin(self.annotation) is dict

    @property
    def is_list(self) -> bool:
        """A list, and nothing else."""
        return typing.get_origin(self.annotation) is list

    @property
    def is_text(self) -> bool:
        """A text, possibly among other shapes: given on a command line it needs no quotes."""
        return any(
            member is str or (typing.get_origin(member) is Literal and isinstance(typing.get_args(member)[0], str))
            for member in _members(self.annotation)
        )

    @property
    def shape(self) -> str:
        """The type, as a person would write it."""
        return shape_of(self.annotation)


class KeyTable:
    """The keys of one settings record. ``envs`` and ``judges``: names that ``envs.*`` and ``judges.*`` stand for."""

    def __init__(self, record: type[Settings], envs: list[str], judges: Sequence[str] = ()) -> None:
        self._keys = {key.name: key for key in keys_of(record)}
        self._names = {"envs": envs, "judges": judges}
        # Mappings whose names anybody may choose (`cluster.pools.*`).
        self._free = {key.partition(".*.")[0] for key in self._keys if ".*." in key} - set(self._names)

    def find(self, name: str) -> Key | None:
        """The key that ``name`` sets: itself, the open mapping it is in, or None."""
        generic = self._generic(name)
        if generic in self._keys:
            return self._keys[generic]
        parts = generic.split(".")
        parents = (".".join(parts[:size]) for size in range(len(parts) - 1, 0, -1))
        return next(
            (self._keys[parent] for parent in parents if parent in self._keys and self._keys[parent].is_open), None
        )

    def is_section(self, name: str) -> bool:
        """True for a whole record (``model.retry``), settable as ``{max_attempts: 3}``."""
        return any(key.startswith(f"{self._generic(name)}.") for key in self._keys)

    def nearest(self, name: str) -> str | None:
        """The known key that the wrong ``name`` was most likely meant to be."""
        names = [known for key in self._keys for known in self._spelled(key)]
        same_leaf = [known for known in names if known.rpartition(".")[2] == name.rpartition(".")[2]]
        if "." not in name:  # then the run's own setting is meant rather than one environment's
            same_leaf = [known for known in same_leaf if not known.startswith(("env", "judge"))] or same_leaf
        near = difflib.get_close_matches(name, same_leaf or names, 1, 0.0 if same_leaf else CLOSE)
        if near:
            return near[0]
        leaves = {known.rpartition(".")[2]: known for known in reversed(names)}
        return next(
            (leaves[leaf] for leaf in difflib.get_close_matches(name.rpartition(".")[2], leaves, 1, CLOSE)), None
        )

    def _generic(self, name: str) -> str:
        parts = name.split(".")
        group = parts[0]
        for mapping in self._free:
            if name.startswith(f"{mapping}."):
                rest = name.removeprefix(f"{mapping}.").partition(".")[2]
                return f"{mapping}.*.{rest}" if rest else f"{mapping}.*"
        return ".".join([group, "*", *parts[2:]]) if parts[1:] and parts[1] in self._names.get(group, ()) else name

    def _spelled(self, key: str) -> list[str]:
        group = key.partition(".")[0]
        if group not in self._names:
            return [key]
        return [key.replace("*", name, 1) for name in self._names[group]] + [shorthand(key)]


def shorthand(key: str) -> str:
    """``env.KEY`` and ``judge.KEY`` for a key of all environments, or of the judge that they ask."""
    return key.replace("envs.*.", "env.", 1).replace("judges.*.", "judge.", 1)


def keys_of(record: type[Settings], prefix: str = "") -> Iterator[Key]:
    """All keys of ``record`` in declaration order, nested records flattened."""
    hints = typing.get_type_hints(record)
    for name, field in record.model_fields.items():
        annotation, path = hints[name], prefix + name
        nested = _record_in(annotation)
        if nested is not None:
            yield from keys_of(nested, f"{path}.*." if typing.get_origin(annotation) is dict else f"{path}.")
        else:
            help_text = " ".join((field.description or "").split())
            yield Key(path, annotation, _default(field), field.is_required(), help_text)


def nearest_of(name: str, known: list[str]) -> str:
    """``; nearest: X`` when one of ``known`` is close to ``name``, else an empty text."""
    found = difflib.get_close_matches(name, known, 1, CLOSE)
    return f"; nearest: {found[0]}" if found else ""


def _record_in(annotation: Any) -> type[Settings] | None:
    if typing.get_origin(annotation) is dict:
        annotation = typing.get_args(annotation)[1]
    return annotation if isinstance(annotation, type) and issubclass(annotation, Settings) else None


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True, validated_data={})
    return None if value is PydanticUndefined else value


def _members(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) if typing.get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def shape_of(annotation: Any) -> str:
    """A type as a person would write it: ``int``, ``auto|off``, ``text or null``, ``[text, ...]``."""
    names = {str: "text", type(None): "null", int: "int", float: "number", bool: "true|false", Any: "any"}
    members = _members(annotation)
    if len(members) > 1:
        return " or ".join(map(shape_of, members))
    if annotation in names:
        return names[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin is list:
        return f"[{shape_of(arguments[0])}, ...]"
    if origin is dict:
        return f"{{name: {shape_of(arguments[1])}}}"
    return getattr(annotation, "__name__", "any")
