"""Tool schemas from Python signatures."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool: its Responses API definition and the pydantic model of its arguments (None: taken as they come)."""

    name: str
    definition: dict[str, Any]
    arguments: type[BaseModel] | None = None


def tool_spec(function: Callable[..., Any]) -> ToolSpec:
    """Read ``async def name(self, session, a: int, b: str = "x")`` and its docstring.

    Raises:
        TypeError: when a parameter has no type annotation, or is ``*args`` / ``**kwargs``.
    """
    hints = typing.get_type_hints(function)
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(function).parameters.values())[2:]:
        place = f"tool {function.__qualname__}: parameter `{parameter.name}`"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"{place} must be named: the model cannot fill *args or **kwargs")
        if parameter.name not in hints:
            raise TypeError(f"{place} needs a type annotation: the model's schema is made from it")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    arguments = create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)
    definition = {
        "type": "function",
        "name": function.__name__,
        "description": inspect.getdoc(function) or "",
        "parameters": _plain_schema(arguments),
        "strict": False,
    }
    return ToolSpec(function.__name__, definition, arguments)


def _plain_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema without pydantic's titles: every token of it is paid for in each prompt."""

    def strip(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                key: {name: strip(value) for name, value in item.items()} if key == "properties" else strip(item)
                for key, item in node.items()
                if not (key == "title" and isinstance(item, str))
            }
        return [strip(item) for item in node] if isinstance(node, list) else node

    schema: dict[str, Any] = strip(model.model_json_schema())
    return schema
