"""A small MCP server on stdio, for examples and tests: units, dates, and a list that it remembers.

``python -m gym_ray.environments.mcp_tools.example [PORT]``: on stdio, or with a port as streamable HTTP on loopback.
"""

from __future__ import annotations

import sys
from datetime import date

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

FACTORS = {"km": 1000.0, "m": 1.0, "cm": 0.01, "mile": 1609.344, "ft": 0.3048}
"""Metres."""

server = MCPServer("example")
noted: list[str] = []


@server.tool()
def convert_length(value: float, from_unit: str, to_unit: str) -> str:
    """Convert a length between km, m, cm, mile and ft."""
    if not {from_unit, to_unit} <= FACTORS.keys():
        raise ToolError(f"unknown unit; there are {', '.join(FACTORS)}")
    return f"{value * FACTORS[from_unit] / FACTORS[to_unit]:.6g}"


@server.tool()
def days_between(first: str, second: str) -> int:
    """Days from one ISO date to another."""
    return (date.fromisoformat(second) - date.fromisoformat(first)).days


@server.tool()
def note(text: str) -> str:
    """Remember a line; answers with all lines remembered so far."""
    noted.append(text)
    return "\n".join(noted)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run()
