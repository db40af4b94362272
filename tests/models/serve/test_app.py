"""The application behind both doors, over real sockets, with an engine that samples prepared texts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest

from gym_ray.models.config import ModelConfig, ServeConfig
from gym_ray.models.serve.app import App
from gym_ray.models.serve.listener import Listener
from gym_ray.models.serve.policy import Policy
from gym_ray.types.items import item_text, user_message
from tests.models.serve.fakes import FakeEngine


@asynccontextmanager
async def served(engine: FakeEngine, **settings: Any) -> AsyncIterator[str]:
    """The base address of an app over ``engine``."""
    policy = Policy(engine, ModelConfig(name="fake", serve=ServeConfig(**settings)))
    await policy.start()
    listener = Listener(App(policy, "fake"))
    try:
        yield await listener.open("127.0.0.1")
    finally:
        await listener.close(grace_s=1.0)


async def post(url: str, body: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        return response.status, await response.json()


def turn(said: str = "hello", **params: Any) -> dict[str, Any]:
    return {"params": params, "items": [user_message(said)], "session": "s", "covered": 0, "prefix": None}


async def test_a_dialogue_stays_one_contiguous_sequence() -> None:
    engine = FakeEngine(["one", "two", "three"])
    request, ids = turn(), []
    async with served(engine) as base:
        for said in ("one", "two", "three"):
            status, reply = await post(f"{base}/turn", request)
            assert status == 200
            tokens = reply["tokens"]
            assert tokens["kept"] == len(ids)
            ids = ids[: tokens["kept"]] + tokens["suffix"]
            assert engine.seen[-1] == ids
            ids += tokens["sampled"]
            assert [item_text(item) for item in reply["items"]] == [said]
            assert reply["finish_reason"] == "stop"
            assert reply["usage"]["completion_tokens"] == len(tokens["sampled"]) == len(tokens["logprobs"])
            items = [*request["items"], *reply["items"]]
            request = {**request, "items": [*items, user_message("more")], "covered": len(items), "prefix": ids}


@pytest.mark.parametrize(
    ("limit", "window", "reason"),
    [(None, 4096, "stop"), (3, 4096, "length"), (None, 20, "context_window"), (1000, 20, "context_window")],
)
async def test_why_a_turn_ended_is_told_apart(limit: int | None, window: int, reason: str) -> None:
    async with served(FakeEngine(["a longer answer"], max_len=window)) as base:
        status, reply = await post(f"{base}/turn", turn(max_output_tokens=limit))
    assert (status, reply["finish_reason"]) == (200, reason)
    assert reply["tokens"]["sampled"]


async def test_a_prompt_beyond_the_window_is_an_answer_for_agents_and_an_error_for_openai_clients() -> None:
    engine = FakeEngine([], max_len=8)
    async with served(engine) as base:
        status, reply = await post(f"{base}/turn", turn("many words " * 9))
        assert (status, reply["finish_reason"], reply["items"], reply["tokens"]) == (200, "context_window", [], None)
        client = openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="maximum context length") as caught:
            await client.responses.create(model="fake", input="many words " * 9)
        assert caught.value.code == "context_length_exceeded"
    assert not engine.seen


@pytest.mark.parametrize(
    ("engine", "kind"),
    [(FakeEngine(["x"], logprob=float("nan")), "nan_logprob"), (FakeEngine([""]), "empty_generation")],
)
async def test_what_cannot_be_trained_on_is_a_typed_error(engine: FakeEngine, kind: str) -> None:
    async with served(engine) as base:
        params = {"max_output_tokens": 0} if kind == "empty_generation" else {}
        status, reply = await post(f"{base}/turn", turn(**params))
    assert status == 500
    assert (reply["error"]["kind"], reply["error"]["terminal"]) == (kind, False)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({"items": []}, "params", id="no params"),
        pytest.param(turn(top_kk=3), "top_kk", id="unknown parameter"),
        pytest.param(turn(n=2), "n=2", id="several choices"),
        pytest.param(turn(tools=[{"type": "web_search"}]), "web_search", id="hosted tool"),
        pytest.param([1], "object", id="no object"),
    ],
)
async def test_a_request_that_cannot_be_served_names_its_fault(body: Any, words: str) -> None:
    async with served(FakeEngine(["x"])) as base:
        status, reply = await post(f"{base}/turn", body)
    assert status == 400
    assert reply["error"]["terminal"] is True
    assert words in reply["error"]["reason"]


async def test_whoever_leaves_cancels_the_call() -> None:
    engine = FakeEngine([None, "still here"])
    async with served(engine) as base:
        call = asyncio.create_task(post(f"{base}/turn", turn()))
        await asyncio.wait_for(engine.hanging.wait(), 5)
        call.cancel()
        await asyncio.wait([call])
        await asyncio.wait_for(engine.aborted.wait(), 5)
        assert (await post(f"{base}/turn", turn()))[0] == 200


async def test_closing_lets_calls_in_flight_end() -> None:
    engine = FakeEngine(["done"])
    gate = asyncio.Event()
    generate = engine.generate

    async def held(*args: Any) -> Any:
        await gate.wait()
        return await generate(*args)

    engine.generate = held  # type: ignore[method-assign]
    policy = Policy(engine, ModelConfig())
    await policy.start()
    listener = Listener(App(policy, "fake"))
    base = await listener.open("127.0.0.1")
    call = asyncio.create_task(post(f"{base}/turn", turn()))
    await asyncio.sleep(0.2)
    closing = asyncio.create_task(listener.close(grace_s=5.0))
    await asyncio.sleep(0.1)
    gate.set()
    assert (await call)[0] == 200
    await closing
    with pytest.raises(aiohttp.ClientConnectorError):
        await post(f"{base}/turn", turn())


async def test_responses_by_an_unmodified_openai_client() -> None:
    async with served(FakeEngine(["four"])) as base:
        client = openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
        assert [model.id async for model in await client.models.list()] == ["fake"]
        response = await client.responses.create(
            model="fake", input="two and two?", instructions="be brief", temperature=0.5, max_output_tokens=50
        )
    assert (response.output_text, response.status, response.temperature) == ("four", "completed", 0.5)
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert not hasattr(response.output[-1], "prompt_token_ids")


async def test_chat_completions_by_an_unmodified_openai_client() -> None:
    engine = FakeEngine(["four"])
    tools: Any = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    async with served(engine) as base:
        client = openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
        completion = await client.chat.completions.create(
            model="fake",
            messages=[
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "two and two?"}]},
            ],
            tools=tools,
            max_completion_tokens=50,
            logprobs=True,
            seed=7,
            extra_body={"top_k": 5, "return_token_ids": True},
        )
    choice = completion.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("four", "stop")
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert "".join(token.token for token in choice.logprobs.content) == "four<|im_end|>"
    expected = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 50, "seed": 7, "top_k": 5}
    assert engine.sampling[0] == expected
    prompt = engine.tokenizer.decode(engine.seen[0])
    assert '"name": "add"' in prompt
    assert "two and two?" in prompt
    dumped = completion.model_dump()
    assert dumped["prompt_token_ids"] == engine.seen[0] == dumped["choices"][0]["message"]["prompt_token_ids"]
    assert dumped["choices"][0]["token_ids"] == dumped["choices"][0]["message"]["generation_token_ids"]


@pytest.mark.parametrize("route", ["responses", "chat/completions"])
async def test_ids_that_a_client_sends_back_are_extended(route: str) -> None:
    engine = FakeEngine(["one", "two"])
    asked = {"model": "fake", "return_token_ids": True}
    async with served(engine) as base:
        history: list[Any] = [{"role": "user", "content": "count"}]
        if route == "responses":
            _, reply = await post(f"{base}/v1/{route}", {**asked, "input": history})
            history += reply["output"]
        else:
            _, reply = await post(f"{base}/v1/{route}", {**asked, "messages": history})
            history.append(reply["choices"][0]["message"])
        ids = history[-1]["prompt_token_ids"] + history[-1]["generation_token_ids"]
        history.append({"role": "user", "content": "go on"})
        key = "input" if route == "responses" else "messages"
        status, _ = await post(f"{base}/v1/{route}", {**asked, key: history})
    assert status == 200
    assert engine.seen[1][: len(ids)] == ids
    assert len(engine.seen[1]) > len(ids)


async def test_structured_output_reaches_the_engine() -> None:
    engine = FakeEngine(['{"n": 1}'])
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    async with served(engine) as base:
        form = {"type": "json_schema", "name": "number", "schema": schema}
        status, _ = await post(f"{base}/turn", turn(text={"format": form}))
    assert status == 200
    assert engine.sampling[0]["structured_outputs"] == {"json": schema}
