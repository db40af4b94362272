"""Prompt templates: a YAML file with ``user`` and optionally ``system`` and ``fields``.

Each is Python ``str.format_map`` text over the row's top-level fields (literal braces doubled), the format
NeMo Gym's prompt files have. The result becomes the row's ``responses_create_params.input``; a row that
already has an input is an error, never overwritten. ``fields`` (ours) makes fields that the environment wants from
columns that are called otherwise: ``fields: {expected_answer: "{solution}"}``, or lie within one: ``"{item[answer]}"``.
A template that is one field and nothing else takes its value as it is, list or number. So tables made elsewhere (NeMo
Data Designer, say) are tasks as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from string import Formatter
from typing import Any

import yaml

from gym_ray.collect.tasks.sources import open_filesystem
from gym_ray.types.errors import UserError


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A parsed template file. ``text``: the file as it stands (what decides whether a plan still holds)."""

    address: str
    text: bytes
    user: str
    system: str | None = None
    fields: dict[str, str] = field(default_factory=dict)

    def apply(self, row: dict[str, Any]) -> None:
        """Fill the row's input in place.

        Raises:
            ValueError: a field is missing, or the row has an input of its own.
        """
        params = row.setdefault("responses_create_params", {})
        if not isinstance(params, dict):
            raise ValueError("responses_create_params: must be an object")
        if params.get("input"):
            raise ValueError("responses_create_params.input: the row has one already, and tasks.prompt would make it")
        texts = {"system": self.system, "user": self.user}
        params["input"] = [
            {"role": role, "content": self._fill(template, row)} for role, template in texts.items() if template
        ]
        row |= {name: self._value(template, row) for name, template in self.fields.items()}

    def _value(self, template: str, row: dict[str, Any]) -> Any:
        """A template that is one field, also one within another (``{a[b]}``), is that field's value."""
        filled = self._fill(template, row)
        match list(Formatter().parse(template)):
            case [("", str(name), "", None)]:
                return Formatter().get_field(name, (), row)[0]
        return filled

    def _fill(self, template: str, row: dict[str, Any]) -> str:
        try:
            return template.format_map(row)
        except KeyError as error:
            fields = ", ".join(key for key in row if key != "responses_create_params")
            raise ValueError(f"{error.args[0]}: the prompt needs this field; the row has {fields or 'none'}") from error
        except (ValueError, IndexError, AttributeError, TypeError) as error:
            raise ValueError(f"prompt: {self.address} does not fit the row: {error}") from error


def load_prompt(address: str) -> PromptTemplate:
    """Read and check a template file.

    Raises:
        UserError: it cannot be read, is no YAML mapping with ``user``, or has a broken ``{field}``.
    """
    filesystem, path = open_filesystem(address)
    try:
        with filesystem.open_input_stream(path) as stream:
            text: bytes = stream.read()
        content = yaml.safe_load(text)
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"tasks.prompt: {address}: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(content, dict) or not isinstance(content.get("user"), str):
        raise UserError(f"tasks.prompt: {address}: must be YAML with `user:` (a text) and optionally `system:`")
    if unknown := sorted(set(content) - {"user", "system", "fields"}):
        raise UserError(f"tasks.prompt: {address}: unknown key `{unknown[0]}` (known: user, system, fields)")
    fields = content.pop("fields", None) or {}
    if not isinstance(fields, dict) or "responses_create_params" in fields:
        raise UserError(f"tasks.prompt: {address}: `fields` must be a mapping of fields that are no request")
    for role, template in [*content.items(), *((f"fields.{name}", template) for name, template in fields.items())]:
        _check(address, role, template)
    return PromptTemplate(address, text, content["user"], content.get("system"), fields)


def _check(address: str, role: str, template: Any) -> None:
    if not isinstance(template, str):
        raise UserError(f"tasks.prompt: {address}: `{role}` must be a text")
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise UserError(f"tasks.prompt: {address}: `{role}`: {error} (a literal brace is doubled)") from error
    if "" in fields:
        raise UserError(f"tasks.prompt: {address}: `{role}`: empty braces name no field (literal ones are doubled)")
