"""What an OpenEnv server can be asked to do, as tools, and calls of these as actions."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from gym_ray.resources.toolbox import error_text, text_of
from gym_ray.types.errors import UserError, describe

STEP = "step"
"""The tool of an environment whose action has a type of its own."""
DISCOVERY_S = 15.0


@dataclass(frozen=True, slots=True)
class Actions:
    """``definitions``: Responses API tools. ``mcp``: they are the tools of an MCP environment."""

    definitions: list[dict[str, Any]]
    mcp: bool

    def client(self, url: str) -> Any:
        """A new session's client; it connects when it is first used."""
        from openenv import GenericEnvClient

        return GenericEnvClient(base_url=url, connect_timeout_s=DISCOVERY_S)

    def action(self, name: str, arguments: object) -> dict[str, Any]:
        """The action that a call stands for.

        Raises:
            ValueError: there is no such tool, or the arguments are no JSON object; the message is for the model.
        """
        known = [tool["name"] for tool in self.definitions]
        if name not in known:
            raise ValueError(f"unknown tool {name!r}; the tools are: {', '.join(known)}")
        if not isinstance(arguments, dict):
            raise ValueError(f"the arguments of {name!r} are not a JSON object")
        return {"type": "call_tool", "tool_name": name, "arguments": arguments} if self.mcp else arguments

    def output(self, observation: dict[str, Any]) -> str:
        """What the model is told: an MCP tool's result or error, else the whole observation."""
        if not self.mcp:
            return text_of(observation)
        if observation.get("error"):
            return error_text(str(observation["error"].get("message") or observation["error"]))
        result = observation.get("result")
        data = result.get("data") if isinstance(result, dict) else None
        return text_of(result if data is None else data)


def discover(url: str) -> Actions:
    """Ask the server at ``url`` for its action's schema, and an MCP environment for its tools.

    Raises:
        UserError: openenv is not installed, or nothing at ``url`` answers as OpenEnv does.
    """
    if find_spec("openenv") is None:
        raise UserError("environment `openenv` needs the package: pip install 'gym-ray[openenv]'")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/schema", timeout=DISCOVERY_S) as answer:
            schema = json.load(answer)["action"]
        if "tool_name" not in schema.get("properties", {}) and "call_tool" not in json.dumps(schema):
            return Actions([_step_tool(schema)], mcp=False)
        return Actions(_mcp_tools(url), mcp=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"environment `openenv`: options.url={url}: no OpenEnv server: {describe(error)}") from None


def _step_tool(schema: dict[str, Any]) -> dict[str, Any]:
    properties = {name: value for name, value in schema.get("properties", {}).items() if name != "metadata"}
    parameters = {key: value for key, value in schema.items() if key in ("$defs", "required", "additionalProperties")}
    return {
        "type": "function",
        "name": STEP,
        "description": schema.get("description") or "Take one step in the environment.",
        "parameters": {"type": "object", "properties": properties, **parameters},
        "strict": False,
    }


def _mcp_tools(url: str) -> list[dict[str, Any]]:
    from openenv import GenericEnvClient

    with GenericEnvClient(base_url=url, connect_timeout_s=DISCOVERY_S).sync() as client:
        client.reset()
        tools = client.step({"type": "list_tools"}).observation["tools"]
    return [
        {
            "type": "function",
            "name": tool["name"],
            "description": tool.get("description") or tool["name"],
            "parameters": tool.get("input_schema") or tool.get("inputSchema") or {"type": "object", "properties": {}},
            "strict": False,
        }
        for tool in tools
    ]
