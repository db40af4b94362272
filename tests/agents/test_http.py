"""agent=http: unmodified OpenAI clients over real sockets, their calls recorded with exact tokens."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from openai import APIStatusError, BadRequestError

from gym_ray.agents.base import AgentConfig
from gym_ray.agents.http import HttpAgent
from gym_ray.agents.load import make_agent
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.types.errors import FailureKind, RolloutError, Stage, UserError
from gym_ray.types.items import assistant_message, function_call, reasoning
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Usage
from tests.agents.elsewhere import client, free_port, run, say, speak
from tests.agents.scripted import MemoryResources, ScriptedModel, context_of

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


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
            await say(asked, prompt)
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
                await say(asked, looked)
            except APIStatusError as error:
                refused.append(str(error))
        return {}

    context = await run(work, model, MemoryResources({"double": lambda n: 2 * n}), max_turns=2)
    assert context.trajectory.input[0]["content"] == "42"
    assert len(context.trajectory.turns) == 2
    assert context.trajectory.finish_reason is FinishReason.MAX_TURNS
    assert "agent.max_turns" in refused[0]


async def test_the_address_is_the_key_and_ends_with_the_rollout() -> None:
    kept: dict[str, Any] = {}

    async def work(asked: dict[str, Any]) -> Any:
        kept.update(asked)
        root = asked["base_url"].removesuffix("/v1")
        for base_url in (root, f"{root}/", f"{root}/v1/", f"{root}/v1/v1"):
            assert await say({**asked, "base_url": base_url, "api_key": "sk-of-its-own"}, "x") == "x"
        assert [model.id async for model in client(asked).models.list()] == [asked["model"]]
        with pytest.raises(APIStatusError, match="never was"):
            await say({**asked, "base_url": asked["base_url"].replace(asked["api_key"], "guessed")}, "x")
        return {}

    await run(work, ScriptedModel(speak(*[[assistant_message("x")]] * 4)))
    with pytest.raises(APIStatusError, match="over"):
        await say(kept, "x")


def broken(request: ModelRequest) -> ModelReply:
    raise RolloutError(FailureKind.TRANSPORT_UNREACHABLE, Stage.MODEL, "gone", terminal=False)


async def test_failures_have_a_kind() -> None:
    async def swallow(asked: dict[str, Any]) -> Any:
        for _ in range(2):
            with pytest.raises(BadRequestError, match="gone"):  # of a kind that clients do not repeat
                await say(asked, "x")
        return {"output": "I made it up."}

    async def idle(asked: dict[str, Any]) -> Any:
        return {}

    async def crash(asked: dict[str, Any]) -> Any:
        raise ValueError("its own mistake")

    for work, kind, calls in (
        (swallow, FailureKind.TRANSPORT_UNREACHABLE, 1),
        (idle, FailureKind.AGENT_RUN_ERROR, 0),
        (crash, FailureKind.AGENT_RUN_ERROR, 0),
    ):
        model = ScriptedModel(broken)
        with pytest.raises(RolloutError) as failed:
            await run(work, model)
        assert (failed.value.kind, failed.value.terminal, len(model.requests)) == (kind, False, calls)
    with pytest.raises(UserError, match=r"agent\.url is missing"):
        make_agent(AgentConfig(kind="http"), gymnasium=False)


async def test_an_agent_that_is_away_is_waited_for() -> None:
    async def work(asked: dict[str, Any]) -> Any:
        await say(asked, "x")
        return {}

    asked = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if asked == 1:
            return web.json_response({}, status=503)
        return web.json_response(await work(await request.json()))

    port = free_port()
    agent = HttpAgent(AgentConfig(url=f"http://127.0.0.1:{port}/run", patience_s=30))
    context = context_of(ScriptedModel(speak([assistant_message("x")])), MemoryResources())
    rollout = asyncio.create_task(agent.run(context))
    await asyncio.sleep(0.5)
    app = web.Application()
    app.router.add_post("/run", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await rollout
    await runner.cleanup()
    assert (asked, context.trajectory.text) == (2, "x")

    nobody = HttpAgent(AgentConfig(url=f"http://127.0.0.1:{free_port()}/run", patience_s=0.2))
    with pytest.raises(RolloutError, match=r"agent\.url") as failed:
        await nobody.run(context_of(ScriptedModel(broken), MemoryResources()))
    assert (failed.value.kind, failed.value.terminal) == (FailureKind.TRANSPORT_UNREACHABLE, False)


async def test_what_ends_a_rollout_ends_it_though_the_agent_breaks() -> None:
    """An unmodified agent knows nothing of our limits: the error that tells it of them is its end."""

    async def never_enough(asked: dict[str, Any]) -> Any:
        while True:
            await say(asked, "more")

    def cut(request: ModelRequest) -> ModelReply:
        tokens = TurnTokens([1], [2, 3], [-0.5, -0.5])
        return ModelReply([assistant_message("an")], FinishReason.LENGTH, Usage(1, 2), tokens)

    def full(request: ModelRequest) -> ModelReply:
        return cut(request) if request.items[0]["content"] == "x" else ModelReply([], FinishReason.CONTEXT_WINDOW)

    async def too_long(asked: dict[str, Any]) -> Any:
        await say(asked, "x")
        with pytest.raises(BadRequestError) as refused:
            await say(asked, "too long")
        assert refused.value.code == "context_length_exceeded"
        raise refused.value

    async def no_json(asked: dict[str, Any]) -> Any:
        raise ValueError(await say(asked, "give me JSON"))

    answer = speak(*[[assistant_message("x")]] * 3)
    for work, script, settings, reason, turns in (
        (never_enough, answer, {"max_turns": 3}, FinishReason.MAX_TURNS, 3),
        (never_enough, cut, {"max_tokens": 4}, FinishReason.LENGTH, 2),
        (no_json, cut, {}, FinishReason.LENGTH, 1),
        (too_long, full, {}, FinishReason.CONTEXT_WINDOW, 1),
    ):
        trajectory = (await run(work, ScriptedModel(script), **settings)).trajectory
        assert (trajectory.finish_reason, len(trajectory.turns)) == (reason, turns)


async def test_what_the_model_refuses_is_the_agents_to_mend() -> None:
    def picky(request: ModelRequest) -> ModelReply:
        if "response_format" in request.params:
            raise RolloutError(FailureKind.MODEL_REJECTED_REQUEST, Stage.MODEL, "no formats here")
        return ModelReply([assistant_message("x")], FinishReason.STOP, Usage(1, 1), TurnTokens([1], [2], [-0.5]))

    def formatted(asked: dict[str, Any]) -> Any:
        return say(asked, "x", response_format={"type": "json_object"})

    async def mends(asked: dict[str, Any]) -> Any:
        with pytest.raises(BadRequestError):
            await formatted(asked)
        await say(asked, "x")
        return {}

    async def does_not(asked: dict[str, Any]) -> Any:
        await formatted(asked)

    assert (await run(mends, ScriptedModel(picky))).trajectory.text == "x"
    with pytest.raises(RolloutError, match="no formats here") as failed:
        await run(does_not, ScriptedModel(picky))
    assert failed.value.terminal, "asking again would change nothing"
