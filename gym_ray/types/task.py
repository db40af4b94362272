"""Task rows: one JSONL line = ``responses_create_params`` + the fields its verifier needs.

Unknown keys are kept and forwarded: a row written for NeMo Gym passes through unchanged.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from gym_ray.types.items import Item


class TaskRow(BaseModel):
    """Base of every environment's ``Task``. Subclass it and declare the fields your verifier reads.

    A subclass is validated once per row, on load; errors name the file, line and field. The docstring under
    a field is what ``gym-ray env show`` prints about it.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=(), use_attribute_docstrings=True)

    responses_create_params: dict[str, Any]
    """The request: ``input`` (a string, or a list of Responses input items) and any other create parameter
    (``tools``, ``temperature``, ``max_output_tokens``, ...). Stays a plain JSON object."""

    @field_validator("responses_create_params")
    @classmethod
    def _check_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        given = params.get("input")
        if isinstance(given, str):
            return params
        if not isinstance(given, list) or not given:
            raise ValueError("`input` must be a string or a non-empty list of items")
        for position, item in enumerate(given):
            if not isinstance(item, dict) or not ("type" in item or ("role" in item and "content" in item)):
                raise ValueError(f"`input[{position}]` is no Responses item: it needs `type`, or `role` and `content`")
        tools = params.get("tools")
        if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
            raise ValueError("`tools` must be a list of objects")
        return params

    @property
    def input(self) -> str | list[Item]:
        """Short for ``responses_create_params["input"]``."""
        value: str | list[Item] = self.responses_create_params["input"]
        return value

    @property
    def prompt_text(self) -> str:
        """Text of the last user message: what most verifiers mean by "the question"."""
        from gym_ray.types.items import item_text

        if isinstance(self.input, str):
            return self.input
        return next((item_text(item) for item in reversed(self.input) if item.get("role") == "user"), "")
