"""Tools of real MCP servers: the example server as a process on stdio, and over HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gym_ray.environments import catalog
from gym_ray.environments.mcp_tools.connection import public_name
from gym_ray.environments.mcp_tools.server import EXAMPLE
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.contract import check
from gym_ray.resources.golden import load_golden
from gym_ray.resources.host import Host
from gym_ray.types.errors import UserError
from tests.environments.support import rows_of

pytest.importorskip("mcp")
SERVER = "gym_ray.environments.mcp_tools:McpTools"
ROW = {"responses_create_params": {"input": "?"}, "expected_answer": "1"}
TELLS_PID = """
import os
from mcp.server import MCPServer

server = MCPServer("pid")
server.tool(name="get.pid")(lambda: str(os.getpid()))
server.run()
"""


def host(**options: Any) -> Host:
    return Host("mcp", EnvironmentConfig(server=SERVER, options=options))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*EXAMPLE, str(port)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}/mcp"
    process.terminate()
    process.wait(10)


async def test_the_contract_holds() -> None:
    rows, golden = rows_of(catalog.examples_path("mcp_tools")), load_golden(catalog.golden_path("mcp_tools"))
    found = await check(SERVER, rows, golden, {"shared": True})
    assert [(one.name, one.detail) for one in found if not one.passed] == []


async def test_each_rollout_has_a_server_of_its_own() -> None:
    served = host()
    one, other = await served.seed(ROW, "a"), await served.seed(ROW, "b")
    assert await one.call_tool("note", {"text": "x"}) == "x"
    assert await one.call_tool("note", {"text": "y"}) == "x\ny"
    assert await other.call_tool("note", {"text": "z"}) == "z"
    assert "unknown unit" in await other.call_tool("convert_length", {"value": 1, "from_unit": "ell", "to_unit": "m"})
    assert "unknown tool" in await other.call_tool("shell", {})
    await one.close()
    assert await other.call_tool("days_between", {"first": "2024-02-28", "second": "2024-03-01"}) == "2"
    await served.aclose()


async def test_a_shared_server_that_dies_is_started_again() -> None:
    served = host(command=[sys.executable, "-c", TELLS_PID], shared=True)
    assert [tool["name"] for tool in served.tools] == ["get_pid"]
    session = await served.seed(ROW, "a")
    first = await session.call_tool("get_pid", {})
    assert await session.call_tool("get_pid", {}) == first
    os.kill(int(first), signal.SIGKILL)
    assert "error" in await session.call_tool("get_pid", {})
    assert (await session.call_tool("get_pid", {})).isdigit()
    last = await session.call_tool("get_pid", {})
    await served.aclose()
    with pytest.raises(ProcessLookupError):
        os.kill(int(last), 0)


async def test_an_address(url: str) -> None:
    served = host(url=url, only=["convert_length"])
    assert [tool["name"] for tool in served.tools] == ["convert_length"]
    session = await served.seed(ROW, "a")
    assert await session.call_tool("convert_length", {"value": 1, "from_unit": "km", "to_unit": "m"}) == "1000"
    await session.close()
    await served.aclose()


def test_what_cannot_work_is_told() -> None:
    for options, problem in (
        ({"command": ["no-such-program"]}, "no tools from no-such-program"),
        ({"command": [sys.executable, "-c", "pass"], "start_s": 20}, "no tools from"),
        ({"url": "http://127.0.0.1:9/mcp"}, "no tools from http://127.0.0.1:9/mcp"),
        ({"url": "http://127.0.0.1:9/mcp", "token_env": "NO_SUCH_TOKEN"}, "NO_SUCH_TOKEN is not set"),
        ({"only": ["shell"]}, "no tool 'shell'; the server has convert_length"),
        ({"command": ["a"], "url": "b"}, "not both"),
    ):
        with pytest.raises(UserError, match=problem):
            host(**options)


def test_names_that_models_may_write() -> None:
    assert public_name("files/read.text") == "files_read_text"
    assert len(public_name("x" * 100)) == 64
