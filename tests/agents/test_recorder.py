"""What clients send and expect, whatever they are: fields, streams, stored responses, conversations side by side."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from openai import APITimeoutError, AsyncOpenAI, BadRequestError

from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.types.items import assistant_message, function_call, reasoning
from gym_ray.types.tokens import TurnTokens, segments_of
from gym_ray.types.trajectory import FinishReason, Trajectory, Usage
from tests.agents.elsewhere import client, run, said, say, speak
from tests.agents.scripted import ScriptedModel

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
USER = {"role": "user", "content": "go"}


def prompts(trajectory: Trajectory) -> list[list[int]]:
    return [turn.tokens.prompt for turn in trajectory.turns if turn.tokens]


async def test_fields_that_frameworks_send() -> None:
    """Nothing of them is an error; what would change how tokens are sampled does not reach the model."""
    sampling = {
        "temperature": 0.1,
        "top_p": 0.5,
        "seed": 7,
        "frequency_penalty": 1.0,
        "presence_penalty": 1.0,
        "logit_bias": {"5": -100},
        "extra_body": {"top_k": 3, "min_p": 0.5, "repetition_penalty": 1.2, "unheard_of": True},
    }
    harmless = {
        "n": 1,
        "store": True,
        "user": "me",
        "metadata": {"extra_body": '{"temperature": 0}'},
        "service_tier": "auto",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "extra_headers": {"x-stainless-read-timeout": "600", "OpenAI-Organization": "o", "http-referer": "here"},
    }
    asked_for = {
        "tools": [TOOL],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "stop": ["END"],
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
        "max_completion_tokens": 16,
    }

    async def work(asked: dict[str, Any]) -> Any:
        reply = await client(asked).chat.completions.create(
            model=asked["model"], messages=[USER], logprobs=True, top_logprobs=2, **sampling, **harmless, **asked_for
        )
        choice = reply.choices[0]
        assert choice.logprobs is not None
        assert [entry.logprob for entry in choice.logprobs.content or []] == [-0.5]
        assert (reply.model, reply.usage.total_tokens if reply.usage else 0) == (asked["model"], 3)
        with pytest.raises(BadRequestError, match="one answer per call"):
            await say(asked, "go", n=2)
        return {}

    model = ScriptedModel(speak([assistant_message("{}")]))
    await run(work, model)
    sent = model.requests[0].params
    assert sent.pop("tools") == [{"type": "function", **TOOL["function"]}]
    known = {"tool_choice", "parallel_tool_calls", "stop", "response_format", "reasoning_effort"}
    assert {name: sent.pop(name) for name in known} == {name: asked_for[name] for name in known}
    assert sent.pop("temperature") == 1.0
    assert sent.pop("max_output_tokens") == 16
    assert sent.keys() <= {"store", "user", "service_tier", "prompt_cache_key", "safety_identifier"}


async def test_streams_say_the_same() -> None:
    answers = [[reasoning("hm"), function_call("look", "{}", "call_0")], [assistant_message("It is red.")]]

    async def chat(asked: dict[str, Any]) -> Any:
        create = client(asked).chat.completions.create
        stream = await create(
            model="m", messages=[USER], tools=[TOOL], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].usage is not None
        parts = [call for chunk in chunks[:-1] for call in chunk.choices[0].delta.tool_calls or []]
        assert (parts[0].id, parts[0].function.name) == ("call_0", "look")
        call = {"id": "call_0", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        told = [{"role": "assistant", "content": None, "tool_calls": [call]}]
        told.append({"role": "tool", "tool_call_id": "call_0", "content": [{"type": "text", "text": "red"}]})
        stream = await create(model="m", messages=[USER, *told], tools=[TOOL], stream=True)
        return {"output": "".join([chunk.choices[0].delta.content or "" async for chunk in stream])}

    async def responses(asked: dict[str, Any]) -> Any:
        new: Any = "go"
        before = None
        tools = [{"type": "function", **TOOL["function"]}]
        for _ in range(2):
            stream = client(asked).responses.stream(model="m", input=new, previous_response_id=before, tools=tools)
            async with stream as events:
                response = await events.get_final_response()
            before, new = response.id, [{"type": "function_call_output", "call_id": "call_0", "output": "red"}]
        return {"output": response.output_text}

    for work in (chat, responses):
        trajectory = (await run(work, ScriptedModel(speak(*answers)))).trajectory
        kinds = [item["type"] for item in trajectory.items]
        assert kinds == ["reasoning", "function_call", "function_call_output", "message"]
        assert trajectory.items[2]["output"] == "red"
        assert trajectory.text == "It is red."
        assert prompts(trajectory) == [[1, 2], [1, 2, 101, 50]]


async def test_responses_that_are_named_need_not_be_sent_again() -> None:
    """Instructions are those of the call alone; a response can be continued twice; others are unknown."""

    async def work(asked: dict[str, Any]) -> Any:
        create = client(asked).responses.create
        first = await create(model="m", instructions="Be brief.", input="a")
        for new in ("b", "c"):
            await create(model="m", instructions="Be brief.", input=new, previous_response_id=first.id)
        await create(model="m", input="b", previous_response_id=first.id)
        with pytest.raises(BadRequestError, match="no response 'resp_0'"):
            await create(model="m", input="d", previous_response_id="resp_0")
        return {}

    model = ScriptedModel(speak(*([assistant_message(text)] for text in "1234")))
    await run(work, model)
    told = [
        [item["content"] for item in request.items if item.get("role") != "assistant"] for request in model.requests
    ]
    assert told == [["Be brief.", "a"], ["Be brief.", "a", "b"], ["Be brief.", "a", "c"], ["a", "b"]]
    assert [request.covered for request in model.requests] == [0, 3, 3, 0]


async def test_conversations_side_by_side_are_each_continued() -> None:
    """A main agent and a helper take turns; then the main one tries another way from its first answer."""

    async def work(asked: dict[str, Any]) -> Any:
        await say(asked, "main")
        await say(asked, "help")
        await say(asked, "main", said("1"), "on")
        await say(asked, "help", said("2"), "on")
        await say(asked, "main", said("1"), "otherwise")
        return {}

    model = ScriptedModel(speak(*([assistant_message(str(number))] for number in range(1, 6))))
    trajectory = (await run(work, model)).trajectory
    first, helper = [1, 2, 101], [1, 2, 102]
    assert prompts(trajectory) == [[1, 2], [1, 2], [*first, 50], [*helper, 50], [*first, 50]]
    assert [request.covered for request in model.requests] == [0, 0, 2, 2, 2]
    counted = sum(sum(segment.loss_mask) for segment in segments_of([turn.tokens for turn in trajectory.turns]))
    assert counted == 5, "each sampled token is learnt from once"


async def test_other_tools_are_another_prompt() -> None:
    async def work(asked: dict[str, Any]) -> Any:
        await say(asked, "a", tools=[TOOL])
        await say(asked, "a", said("1"), "b", tools=[TOOL])
        await say(asked, "a", said("1"), "b", said("2"), "c")
        return {}

    model = ScriptedModel(speak(*([assistant_message(text)] for text in "123")))
    await run(work, model)
    assert [request.covered for request in model.requests] == [0, 2, 0]
    assert "tools" not in model.requests[2].params


async def test_calls_made_at_once_are_answered_in_turn() -> None:
    async def work(asked: dict[str, Any]) -> Any:
        return {"output": "".join(await asyncio.gather(*(say(asked, question) for question in "abc")))}

    trajectory = (await run(work, ScriptedModel(speak(*([assistant_message(text)] for text in "xyz"))))).trajectory
    assert sorted(trajectory.text) == ["x", "y", "z"]
    assert len(trajectory.turns) == 3


async def test_a_call_that_was_given_up_leaves_no_trace() -> None:
    class Slow(ScriptedModel):
        async def respond(self, request: ModelRequest) -> ModelReply:
            if len(self.requests) == 1:
                self.requests.append(request)
                await asyncio.sleep(30)
            return await super().respond(request)

    def answer(request: ModelRequest) -> ModelReply:
        prompt = [*request.last_turn.prompt, *request.last_turn.sampled, 50] if request.last_turn else [1, 2]
        return ModelReply([assistant_message("x")], FinishReason.STOP, Usage(2, 1), TurnTokens(prompt, [9], [-0.5]))

    async def work(asked: dict[str, Any]) -> Any:
        await say(asked, "a")
        impatient: AsyncOpenAI = client(asked, timeout=0.3)
        messages = [{"role": "user", "content": "a"}, said("x"), {"role": "user", "content": "b"}]
        with pytest.raises(APITimeoutError):
            await impatient.chat.completions.create(model="m", messages=messages)
        await say(asked, *messages)
        return {}

    trajectory = (await run(work, Slow(answer))).trajectory
    assert [item.get("content") for item in trajectory.items if item["role"] == "user"] == ["b"]
    assert prompts(trajectory) == [[1, 2], [1, 2, 9, 50]]


async def test_what_is_no_request_is_told_so() -> None:
    async def work(asked: dict[str, Any]) -> Any:
        base = asked["base_url"]
        bodies = [b"[", b"{}", b'{"messages": 5}', b'{"messages": []}', b'{"messages": [{"role": "wizard"}]}']
        async with aiohttp.ClientSession() as session:
            for body in bodies:
                async with session.post(f"{base}/chat/completions", data=body) as reply:
                    assert reply.status == 400
                    assert {"message", "type", "code", "param"} <= (await reply.json())["error"].keys()
            async with session.post(f"{base}/embeddings", json={}) as reply:
                assert reply.status == 404
            async with session.post(f"{asked['tools_url']}/look", data=b"5") as reply:
                assert reply.status == 400
        await say(asked, "a")
        return {}

    assert (await run(work, ScriptedModel(speak([assistant_message("x")])))).trajectory.text == "x"
