"""Environments on OpenEnv's own server: the one that ``openenv init`` writes, and one with MCP tools."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.host import Host
from gym_ray.types.errors import RolloutError, UserError
from gym_ray.types.items import function_call
from tests.integrations.conftest import Collected, task
from tests.support.processes import kill_tree, wait_for

pytest.importorskip("openenv")
pytestmark = pytest.mark.integrations
SERVER = "gym_ray.integrations.openenv:OpenEnv"
MCP_APP = """
from fastmcp import FastMCP
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Observation, State


class Sums(MCPEnvironment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self):
        mcp = FastMCP("sums")

        @mcp.tool
        def add(a: int, b: int) -> int:
            "Add two numbers."
            return a + b

        super().__init__(mcp)

    def reset(self, seed=None, episode_id=None, **kwargs):
        return Observation(done=False, reward=0.0)

    def _step_impl(self, action, timeout_s=None, **kwargs):
        return Observation(done=False, reward=0.0)

    @property
    def state(self):
        return State()


app = create_app(Sums, CallToolAction, CallToolObservation, env_name="sums", max_concurrent_envs=16)
"""


def serve(folder: Path, app: str) -> Iterator[str]:
    """The address of a uvicorn process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)})
    try:
        wait_for(lambda: _answers(url), 60, f"{app} to answer")
        yield url
    finally:
        kill_tree(process.pid)
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/schema", timeout=2):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The environment that ``openenv init`` writes: it echoes, 0.1 per letter, at most 1.0."""
    folder = tmp_path_factory.mktemp("openenv")
    tool = Path(sys.executable).with_name("openenv")
    subprocess.run([tool, "init", "echo_env"], cwd=folder, check=True, capture_output=True, timeout=120)
    app = folder / "echo_env" / "server" / "app.py"
    app.write_text(app.read_text().replace("max_concurrent_envs=1,", "max_concurrent_envs=16,"))
    yield from serve(folder / "echo_env", "server.app:app")


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An environment with one MCP tool."""
    folder = tmp_path_factory.mktemp("sums")
    (folder / "sums.py").write_text(MCP_APP)
    yield from serve(folder, "sums:app")


@pytest.mark.ray
def test_a_typed_action_collected(echo: str, collected: Collected) -> None:
    rows = collected(SERVER, {"url": echo}, [task(f"Echo {number}.") for number in range(3)], "say_it_twice")
    assert [row["reward"] for row in rows] == pytest.approx([0.5 + 1.0] * 6)
    assert {row["steps"] for row in rows} == {2}
    outputs = [item["output"] for item in rows[0]["response"]["output"] if item["type"] == "function_call_output"]
    assert '"echoed_message":"hello"' in outputs[0]
    assert "error" in outputs[1]
    assert "message" in outputs[1]


@pytest.mark.ray
def test_mcp_tools_collected(sums: str, collected: Collected) -> None:
    rows = collected(SERVER, {"url": sums}, [task("Add.")], "use_tools")
    assert [row["reward"] for row in rows] == [0.0] * 2
    outputs = [item["output"] for item in rows[0]["response"]["output"] if item["type"] == "function_call_output"]
    assert outputs[0] == "5"
    assert "unknown tool 'multiply'; the tools are: add" in outputs[1]


def test_tools_are_what_the_server_says(echo: str, sums: str) -> None:
    (step,) = definitions(echo)
    assert step["name"] == "step"
    assert list(step["parameters"]["properties"]) == step["parameters"]["required"] == ["message"]
    (add,) = definitions(sums)
    assert (add["name"], add["description"], sorted(add["parameters"]["properties"])) == (
        "add",
        "Add two numbers.",
        ["a", "b"],
    )


def definitions(url: str) -> list[dict[str, Any]]:
    return Host("foreign", EnvironmentConfig(server=SERVER, options={"url": url})).tools


@pytest.mark.parametrize("arguments", ["{", "[1]", "[" * 100_000, '{"message": 5}', '{"message": "\\ud800"}'])
async def test_malformed_calls_are_answered(echo: str, arguments: str) -> None:
    host = Host("foreign", EnvironmentConfig(server=SERVER, options={"url": echo}))
    session = await host.seed(task(), "0")
    result = await session.step([function_call("step", arguments, "c0")])
    assert list(result.tool_outputs) == ["c0"]
    again = await session.step([function_call("step", '{"message": "on"}', "c1")])
    assert again.reward == pytest.approx(0.2)
    assert (await session.step([])).terminated
    await session.close()
    await host.aclose()


def test_no_server() -> None:
    with pytest.raises(UserError, match="no OpenEnv server"):
        Host("foreign", EnvironmentConfig(server=SERVER, options={"url": "http://127.0.0.1:9"}))


async def test_a_server_that_went_away(tmp_path: Path) -> None:
    (tmp_path / "gone.py").write_text(MCP_APP)
    server = serve(tmp_path, "gone:app")
    host = Host("foreign", EnvironmentConfig(server=SERVER, options={"url": next(server)}))
    server.close()
    with pytest.raises(RolloutError) as lost:
        await host.seed(task(), "0")
    assert (lost.value.kind, lost.value.terminal) == ("seed_error", False)
    await host.aclose()
