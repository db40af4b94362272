"""Agents that are not ours, for tests: a function behind a real address, or a program in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from openai import AsyncOpenAI

from gym_ray.agents.base import AgentConfig, RolloutContext
from gym_ray.agents.load import make_agent
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.types.items import Item
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Usage
from tests.agents.scripted import MemoryResources, ScriptedModel, context_of

Json = dict[str, Any]
Work = Callable[[Json], Awaitable[Any]]
EXTERNAL = Path(__file__).parent / "external"


@asynccontextmanager
async def elsewhere(work: Work) -> AsyncIterator[str]:
    """An agent at a real address; yields where."""

    async def handle(request: web.Request) -> web.Response:
        return web.json_response(await work(await request.json()))

    app = web.Application()
    app.router.add_post("/run", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = site._server
    assert server is not None
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/run"  # type: ignore[attr-defined]
    await runner.cleanup()


@contextmanager
def program(name: str, port: int, python: str = sys.executable) -> Iterator[subprocess.Popen[bytes]]:
    """The agent ``external/NAME.py`` as a process; it can import nothing of ours."""
    process = subprocess.Popen([python, "-I", EXTERNAL / f"{name}.py", str(port)], cwd="/")
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def client(asked: Json, **settings: Any) -> AsyncOpenAI:
    """The client that an agent would make."""
    return AsyncOpenAI(base_url=asked["base_url"], api_key=asked["api_key"], max_retries=0, **settings)


async def say(asked: Json, *messages: str | Json, **fields: Any) -> str:
    """One call over Chat Completions; what it answered. Strings are the user's."""
    sent = [{"role": "user", "content": one} if isinstance(one, str) else one for one in messages]
    reply = await client(asked).chat.completions.create(model=asked["model"], messages=sent, **fields)
    return reply.choices[0].message.content or ""


def said(text: str) -> Json:
    """An assistant message as clients send it back."""
    return {"role": "assistant", "content": text}


def speak(*turns: list[Item]) -> Callable[[ModelRequest], ModelReply]:
    """A model whose n-th answer is the n-th of ``turns``, with ids that tell the turns apart."""
    number = 0

    def answer(request: ModelRequest) -> ModelReply:
        nonlocal number
        last = request.last_turn
        prompt = [1, 2] if last is None else [*last.prompt, *last.sampled, 50]
        items, number = turns[number], number + 1
        tokens = TurnTokens(prompt, [100 + number], [-0.5], 0)
        return ModelReply(items, FinishReason.STOP, Usage(len(prompt), 1), tokens)

    return answer


async def run(
    work: Work, model: ScriptedModel, resources: MemoryResources | None = None, **settings: Any
) -> RolloutContext:
    """One rollout by ``work``, sampled at temperature 1 and 64 tokens at most."""
    async with elsewhere(work) as url:
        agent = make_agent(AgentConfig(kind="http", url=url, **settings), gymnasium=False)
        context = context_of(model, resources or MemoryResources(), temperature=1.0, max_output_tokens=64)
        await agent.run(context)
    return context
