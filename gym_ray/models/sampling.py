"""The create parameters that are really sent: defaults below the row, overrides above it."""

from __future__ import annotations

from typing import Any

from gym_ray.models.config import ModelConfig


def effective_params(row: dict[str, Any], config: ModelConfig, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge ``config.sampling`` < row < ``config.sampling_overrides`` and add the environment's tools.

    ``input`` and ``instructions`` are left out: they are the conversation, not parameters. A tool that the
    row already defines keeps the row's definition.
    """
    params = {**config.sampling, **{key: value for key, value in row.items() if value is not None}}
    params.update(config.sampling_overrides)
    params.pop("input", None)
    params.pop("instructions", None)
    own = {tool.get("name") for tool in params.get("tools") or ()}
    added = [tool for tool in tools if tool["name"] not in own]
    if added:
        params["tools"] = [*(params.get("tools") or ()), *added]
    return params
