"""From ``agent.kind`` to an agent."""

from __future__ import annotations

import importlib

from gym_ray.agents.base import Agent, AgentConfig
from gym_ray.agents.gymnasium import GymnasiumLoop
from gym_ray.agents.http import HttpAgent
from gym_ray.agents.tool_loop import ToolLoop
from gym_ray.types.errors import UserError

KINDS: dict[str, type[Agent]] = {"tool_loop": ToolLoop, "gymnasium": GymnasiumLoop, "http": HttpAgent}


def make_agent(config: AgentConfig, *, gymnasium: bool) -> Agent:
    """The configured agent; ``auto`` follows the environment.

    Raises:
        UserError: an import path that leads nowhere, or not to an Agent.
    """
    kind = ("gymnasium" if gymnasium else "tool_loop") if config.kind == "auto" else config.kind
    if kind in KINDS:
        return KINDS[kind](config)
    module, _, name = kind.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        choices = ", ".join(["auto", *KINDS])
        raise UserError(f"agent.kind: {kind!r} is none of {choices}, and cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, Agent)):
        raise UserError(f"agent.kind: {kind} is not a subclass of gym_ray.agents.base.Agent")
    return found(config)
