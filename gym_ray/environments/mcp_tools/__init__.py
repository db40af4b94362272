"""The tools of any MCP server."""

from gym_ray.environments.mcp_tools.server import McpTools as McpTools
