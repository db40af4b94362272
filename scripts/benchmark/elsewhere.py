"""What an agent elsewhere costs on our side, beside our own tool loop over the same model and tools.

CPU is that of this process, which holds what an agent worker holds: the agent, the model's face, the tools. The agent
elsewhere is a process of its own and does not count; the model is a function. ``python -m benchmark.elsewhere PORT`` is
that agent: a tool loop over Chat Completions in bare aiohttp.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import uvloop
from aiohttp import web

from gym_ray.agents.base import Agent, AgentConfig, RolloutContext
from gym_ray.agents.load import make_agent
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.types.items import assistant_message, function_call, reasoning, user_message
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Trajectory, Usage

AT_ONCE = 64
WARM_UP = 64
PORT = 8999  # In a network namespace of our own.
PARAMETERS = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
TOOL = {"type": "function", "name": "look", "description": "Look it up.", "parameters": PARAMETERS}
Json = dict[str, Any]


@dataclass(frozen=True)
class Elsewhere:
    """CPU-ms per rollout of ``turns`` model calls with a tool call between them."""

    turns: int
    loop_ms: float
    http_ms: float


def measure(quick: bool) -> list[Elsewhere]:
    """One turn, and three."""
    return uvloop.run(_measure(500 if quick else 2000))


async def _measure(count: int) -> list[Elsewhere]:
    found = []
    with _agent():
        for turns in (1, 3):
            loop = make_agent(AgentConfig(kind="tool_loop"), gymnasium=False)
            http = make_agent(AgentConfig(kind="http", url=f"http://127.0.0.1:{PORT}/run"), gymnasium=False)
            for agent in (loop, http):
                await _cpu_ms(agent, turns, WARM_UP)
            found.append(Elsewhere(turns, await _cpu_ms(loop, turns, count), await _cpu_ms(http, turns, count)))
    return found


@contextmanager
def _agent() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "benchmark.elsewhere", str(PORT)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def _cpu_ms(agent: Agent, turns: int, count: int) -> float:
    gate = asyncio.Semaphore(AT_ONCE)
    before = time.process_time()

    async def one(number: int) -> None:
        async with gate:
            await agent.run(_context(number, turns))

    await asyncio.gather(*map(one, range(count)))
    return 1000 * (time.process_time() - before) / count


def _context(number: int, turns: int) -> RolloutContext:
    row = {"task_id": str(number), "responses_create_params": {"input": "Look three things up."}}
    trajectory = Trajectory([user_message("Look three things up.")])
    params = {"temperature": 1.0, "max_output_tokens": 512, "tools": [TOOL]}
    # The model and the session are as little as an agent needs of them.
    both: Any = _Session()
    return RolloutContext(f"env/{number}/0", row, params, trajectory, _Model(turns), both, both, {})


class _Session:
    async def call_tool(self, name: str, arguments: Json) -> str:
        return "found: " + arguments["key"]


class _Model:
    """Thinks and calls until its last turn, 100 tokens each time."""

    name = "scripted"

    def __init__(self, turns: int) -> None:
        self._left = turns

    async def respond(self, request: ModelRequest) -> ModelReply:
        self._left -= 1
        last = request.last_turn
        prompt = [7] * 200 if last is None else [*last.prompt, *last.sampled, *[7] * 30]
        tokens, usage = TurnTokens(prompt, [8] * 100, [-0.5] * 100), Usage(len(prompt), 100)
        if self._left:
            call = function_call("look", '{"key": "a"}', f"call_{self._left}")
            return ModelReply([reasoning("I look. " * 20), call], FinishReason.TOOL_CALLS, usage, tokens)
        return ModelReply([assistant_message("word " * 200)], FinishReason.STOP, usage, tokens)

    async def close(self) -> None: ...


async def _run(request: web.Request) -> web.Response:
    asked, session = orjson.loads(await request.read()), request.app["session"]
    tools = [
        {"type": "function", "function": {name: tool[name] for name in ("name", "description", "parameters")}}
        for tool in asked["tools"]
    ]
    messages: list[Json] = [{"role": "user", "content": asked["task"]["responses_create_params"]["input"]}]
    while True:
        body = {"model": asked["model"], "messages": messages, "tools": tools}
        reply = await _post(session, f"{asked['base_url']}/chat/completions", orjson.dumps(body))
        said = reply["choices"][0]["message"]
        messages.append({name: said[name] for name in ("role", "content", "tool_calls") if name in said})
        if not said.get("tool_calls"):
            return web.json_response({})
        for call in said["tool_calls"]:
            url = f"{asked['tools_url']}/{call['function']['name']}"
            output = (await _post(session, url, call["function"]["arguments"].encode()))["output"]
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})


async def _post(session: aiohttp.ClientSession, url: str, body: bytes) -> Json:
    async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as reply:
        answer: Json = orjson.loads(await reply.read())
        return answer


async def _serve(port: int) -> None:
    app = web.Application()
    app.router.add_post("/run", _run)
    app["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
