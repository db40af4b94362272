"""agent=http: unmodified OpenAI clients over real sockets, their calls recorded with exact tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from openai import APIStatusError, AsyncOpenAI

from gym_ray.agents.base import AgentConfig
from gym_ray.agents.http import HttpAgent
from gym_ray.agents.load import make_agent
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.types.errors import FailureKind, RolloutError, Stage, UserError
from gym_ray.types.items import assistant_message, function_call, reasoning
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Usage
from tests.agents.scripted import MemoryResources, ScriptedModel, context_of

Work = Callable[[dict[str, Any]], Awaitable[Any]]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


@asynccontextmanager
async def elsewhere(work: Work) -> AsyncIterator[str]:
    """An agent of its own at a real address; yields where."""

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


def client(asked: dict[str, Any]) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=asked["base_url"], api_key=asked["api_key"], max_retries=0)


def speak(*turns: list[dict[str, Any]]) -> Callable[[ModelRequest], ModelReply]:
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


async def run(work: Work, model: ScriptedModel, resources: MemoryResources | None = None, **settings: Any) -> Any:
    async with elsewhere(work) as url:
        agent = make_agent(AgentConfig(kind="http", url=url, **settings), gymnasium=False)
        params = {"temperature": 1.0, "max_output_tokens": 64}
        context = context_of(model, resources or MemoryResources(), **params)
        await agent.run(context)
    return context


async def test_a_tool_loop_with_the_plain_client_is_one_segment() -> None:
    """The client leaves the thoughts out and spaces arguments otherwise; the tokens go on all the same."""
    call = function_call("look", '{"at":  "it"}', "call_0")
    model = ScriptedModel(speak([reasoning("hm"), call], [assistant_message("It is red.")]))

    async def work(asked: dict[str, Any]) -> Any:
        openai, messages = (
            client(asked),
            [{"role": "user", "content": f"Look, {asked['task']['responses_create_params']['input']}!"}],
        )
        while True:
            reply = await openai.chat.completions.create(
                model=asked["model"], messages=messages, tools=[TOOL], temperature=0.1, max_tokens=500
            )
            message = reply.choices[0].message
            plain = message.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True)
            for one in plain.get("tool_calls", []):
                one["function"]["arguments"] = '{"at": "it"}'
            messages.append(plain)
            if not message.tool_calls:
                return {"done": True}
            messages += [{"role": "tool", "tool_call_id": one.id, "content": "red"} for one in message.tool_calls]

    context = await run(work, model)
    trajectory = context.trajectory
    assert [item["type"] for item in trajectory.items] == [
        "reasoning",
        "function_call",
        "function_call_output",
        "message",
    ]
    assert trajectory.input == [{"role": "user", "content": "Look, go!"}]
    assert trajectory.text == "It is red."
    first, second = (turn.tokens for turn in trajectory.turns)
    assert second.prompt[:3] == first.prompt + first.sampled, "the second prompt extends the first turn exactly"
    assert model.requests[1].covered == 3
    sent = model.requests[0].params
    assert (sent["temperature"], sent["max_output_tokens"]) == (1.0, 64), "the run's sampling, not the agent's"
    assert sent["tools"] == [{"type": "function", **TOOL["function"]}]


async def test_the_responses_face_and_an_output_of_its_own() -> None:
    model = ScriptedModel(speak([assistant_message("four")]))

    async def work(asked: dict[str, Any]) -> Any:
        reply = await client(asked).responses.create(model=asked["model"], input="2+2?")
        return {"output": f"The answer is {reply.output_text}."}

    context = await run(work, model)
    assert context.trajectory.text == "The answer is four."
    assert len(context.trajectory.turns) == 1


async def test_a_conversation_that_is_another_begins_a_new_segment() -> None:
    model = ScriptedModel(speak([assistant_message("one")], [assistant_message("two")]))

    async def work(asked: dict[str, Any]) -> Any:
        for prompt in ("first", "summary of it"):
            await client(asked).chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
        return {}

    context = await run(work, model)
    assert [turn.tokens.prompt for turn in context.trajectory.turns] == [[1, 2], [1, 2]]
    assert [request.last_turn for request in model.requests] == [None, None]
    assert [len(request.items) for request in model.requests] == [1, 1]


async def test_tools_of_the_environment_and_the_limit_of_calls() -> None:
    model = ScriptedModel(speak(*([assistant_message(str(n))] for n in range(3))))
    refused = []

    async def work(asked: dict[str, Any]) -> Any:
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{asked['tools_url']}/double", json={"n": 21}) as reply:
                looked = (await reply.json())["output"]
            async with session.post(f"{asked['tools_url']}/double", data="[") as reply:
                assert reply.status == 400
        for _ in range(3):
            try:
                messages = [{"role": "user", "content": looked}]
                await client(asked).chat.completions.create(model="m", messages=messages)
            except APIStatusError as error:
                refused.append(str(error))
        return {}

    context = await run(work, model, MemoryResources({"double": lambda n: 2 * n}), max_turns=2)
    assert context.trajectory.input[0]["content"] == "42"
    assert len(context.trajectory.turns) == 2
    assert context.trajectory.finish_reason is FinishReason.MAX_TURNS
    assert "agent.max_turns" in refused[0]


async def test_whoever_has_no_key_or_comes_late_gets_nothing() -> None:
    model = ScriptedModel(speak([assistant_message("x")]))
    kept: dict[str, Any] = {}

    async def work(asked: dict[str, Any]) -> Any:
        kept.update(asked)
        async with aiohttp.ClientSession() as session:
            body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
            async with session.post(f"{asked['base_url']}/chat/completions", json=body) as reply:
                assert reply.status == 401
        await client(asked).chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
        return {}

    await run(work, model)
    with pytest.raises(APIStatusError, match="over"):
        await client(kept).chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])


async def test_failures_have_a_kind() -> None:
    def broken(request: ModelRequest) -> ModelReply:
        raise RolloutError(FailureKind.TRANSPORT_UNREACHABLE, Stage.MODEL, "gone", terminal=False)

    async def swallow(asked: dict[str, Any]) -> Any:
        with pytest.raises(APIStatusError):
            await client(asked).chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
        return {"output": "I made it up."}

    async def idle(asked: dict[str, Any]) -> Any:
        return {}

    async def crash(asked: dict[str, Any]) -> Any:
        raise ValueError("its own mistake")

    for work, kind in (
        (swallow, FailureKind.TRANSPORT_UNREACHABLE),
        (idle, FailureKind.AGENT_RUN_ERROR),
        (crash, FailureKind.AGENT_RUN_ERROR),
    ):
        with pytest.raises(RolloutError) as failed:
            await run(work, ScriptedModel(broken))
        assert failed.value.kind == kind
    agent = HttpAgent(AgentConfig(url="http://127.0.0.1:9/nobody"))
    with pytest.raises(RolloutError, match=r"agent\.url"):
        await agent.run(context_of(ScriptedModel(broken), MemoryResources()))
    with pytest.raises(UserError, match=r"agent\.url is missing"):
        make_agent(AgentConfig(kind="http"), gymnasium=False)
