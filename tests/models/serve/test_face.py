"""Streams of both APIs as unmodified OpenAI clients read them, and what HTTP expects of a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest

from gym_ray.models.config import ModelConfig, ServeConfig
from gym_ray.models.serve.app import MAX_BODY, App
from gym_ray.models.serve.engine import Piece
from gym_ray.models.serve.listener import Listener
from gym_ray.models.serve.policy import Policy
from gym_ray.types.items import function_call
from tests.models.serve.fakes import FakeEngine
from tests.models.serve.scripted import ScriptedModel

TAKE: Any = {
    "name": "take",
    "description": "Take things.",
    "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}
CALL = '<tool_call>{"name": "take", "arguments": {"n": 2}}</tool_call>'
SAID = f"<think>\nTwo or three?\n</think>\n\nI take two 🙂.{CALL}{CALL}"
PARSERS = {"tool_parser": "hermes", "reasoning_parser": "qwen3"}


@asynccontextmanager
async def served(responder: Any, keys: tuple[str, ...] = ()) -> AsyncIterator[str]:
    await responder.start()
    listener = Listener(App(responder, "fake", keys))
    try:
        yield await listener.open("127.0.0.1")
    finally:
        await listener.close(grace_s=1.0)


def policy(*said: str | None, part: int = 3, **settings: Any) -> Policy:
    engine = FakeEngine(list(said))
    engine.part = part
    return Policy(engine, ModelConfig(name="fake", serve=ServeConfig(**settings)))


def client(base: str, key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0)


CHAT: Any = {
    "model": "fake",
    "messages": [{"role": "user", "content": "go"}],
    "logprobs": True,
    "tools": [{"type": "function", "function": TAKE}],
    "extra_body": {"return_token_ids": True},
}


def added_up(chunks: list[Any]) -> dict[str, Any]:
    """The message, ids and logprobs that chunks add up to, by hand: in the words of an unstreamed completion."""
    message: dict[str, Any] = {}
    whole: dict[str, Any] = {"message": message, "token_ids": [], "logprobs": []}
    for chunk in chunks:
        whole["prompt_token_ids"] = whole.get("prompt_token_ids") or chunk.get("prompt_token_ids")
        for choice in chunk["choices"]:
            delta = choice["delta"]
            for call in delta.pop("tool_calls", None) or []:
                calls = message.setdefault("tool_calls", [])
                if call["index"] == len(calls):
                    calls.append({"id": call["id"], "type": call["type"], "function": {"arguments": "", "name": ""}})
                for key, text in call["function"].items():
                    calls[call["index"]]["function"][key] += text or ""
            for key, value in delta.items():
                if value is not None:
                    message[key] = message[key] + value if isinstance(value, str) and key in message else value
            whole["token_ids"] += choice.get("token_ids") or []
            whole["logprobs"] += (choice["logprobs"] or {}).get("content") or []
            whole["finish_reason"] = choice["finish_reason"]
    return whole


@pytest.mark.vllm
@pytest.mark.parametrize("part", [1, 5, 1000])
async def test_a_streamed_chat_adds_up_to_the_unstreamed_one(part: int) -> None:
    async with served(policy(SAID, SAID, part=part, **PARSERS)) as base:
        plain = await client(base).chat.completions.create(**CHAT)
        stream = await client(base).chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
        chunks = [chunk.model_dump() async for chunk in stream]
    usage = chunks.pop()
    assert usage["choices"] == []
    expected, whole = plain.model_dump(), added_up(chunks)
    assert usage["usage"] == expected["usage"]
    choice = expected["choices"][0]
    message = {key: value for key, value in choice["message"].items() if value is not None}
    for calls in (message["tool_calls"], whole["message"]["tool_calls"]):
        assert len({call.pop("id") for call in calls}) == 2
    assert whole["message"] == message
    assert message["reasoning_content"] == "\nTwo or three?\n"
    assert message["content"] == "\n\nI take two 🙂."
    assert whole["token_ids"] == choice["token_ids"] == message["generation_token_ids"]
    assert whole["logprobs"] == choice["logprobs"]["content"]
    assert whole["prompt_token_ids"] == expected["prompt_token_ids"]
    assert whole["finish_reason"] == choice["finish_reason"] == "tool_calls"
    assert len({chunk["id"] for chunk in chunks}) == 1


@pytest.mark.vllm
async def test_openais_own_accumulators_read_both_streams() -> None:
    async with served(policy(SAID, SAID, **PARSERS)) as base:
        asked = {**CHAT, "tools": [{"type": "function", "function": {**TAKE, "strict": True}}]}
        asked["tools"][0]["function"]["parameters"] = {**TAKE["parameters"], "additionalProperties": False}
        async with client(base).chat.completions.stream(**asked) as stream:
            completion = await stream.get_final_completion()
        message = completion.choices[0].message
        assert [json.loads(call.function.arguments) for call in message.tool_calls or []] == [{"n": 2}, {"n": 2}]
        tools: Any = [{"type": "function", **TAKE, "strict": False}]
        async with client(base).responses.stream(model="fake", input="go", tools=tools) as events:
            response = await events.get_final_response()
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call", "function_call"]
    assert response.output_text == message.content == "\n\nI take two 🙂."


def items_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The output items that events build, each by its deltas, checked against each word about it."""
    items: list[dict[str, Any]] = []
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert event["output_index"] == len(items)
            items.append({"id": event["item"]["id"], "type": event["item"]["type"], "said": ""})
        elif "item_id" in event:
            item = items[event["output_index"]]
            assert item["id"] == event["item_id"]
            if kind.endswith(".delta"):
                item["said"] += event["delta"]
            elif kind.endswith(("_text.done", "arguments.done")):
                assert item["said"] == event.get("text", event.get("arguments"))
        elif kind == "output_item.done":
            items[event["output_index"]]["done"] = event["item"]
    return items


@pytest.mark.vllm
@pytest.mark.parametrize("part", [1, 5, 1000])
async def test_a_streamed_response_adds_up_to_the_unstreamed_one(part: int) -> None:
    asked: Any = {"model": "fake", "input": "go", "tools": [{"type": "function", **TAKE, "strict": False}]}
    asked |= {"include": ["message.output_text.logprobs"], "extra_body": {"return_token_ids": True}}
    async with served(policy(SAID, SAID, part=part, **PARSERS)) as base:
        plain = await client(base).responses.create(**asked)
        events = [event.model_dump() async for event in await client(base).responses.create(**asked, stream=True)]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == "response.completed"
    response, items = events[-1]["response"], items_of(events[:-1])
    assert [item["done"] for item in items] == response["output"]
    assert [item["said"] for item in items] == [
        "\nTwo or three?\n",
        "\n\nI take two 🙂.",
        '{"n": 2}',
        '{"n": 2}',
    ]
    expected = plain.model_dump()
    assert response["output"][-1]["generation_token_ids"] == expected["output"][-1]["generation_token_ids"]
    assert response["output"][1]["content"][0]["logprobs"]
    for one in (response, expected):
        one.pop("id"), one.pop("created_at")
        for item in one["output"]:
            item.pop("id"), item.pop("call_id", None)
    assert response == expected


async def test_a_model_that_does_not_stream_comes_in_one_piece() -> None:
    call = function_call("take", "{}", "c")
    config = ModelConfig(serve=ServeConfig(engine_args={"script": [[call]], "tokens": 3}))
    async with served(ScriptedModel(config)) as base:
        chunks = [chunk.model_dump() async for chunk in await client(base).chat.completions.create(**CHAT, stream=True)]
        events = [event async for event in await client(base).responses.create(model="x", input="go", stream=True)]
    whole = added_up(chunks)
    assert whole["message"]["tool_calls"][0]["function"] == {"name": "take", "arguments": "{}"}
    assert whole["token_ids"] == whole["message"]["generation_token_ids"] == [0, 1, 2]
    assert [event.type for event in events][-1] == "response.completed"


async def test_a_call_cut_short_says_so_in_streams_too() -> None:
    async with served(policy("a longer answer", "a longer answer")) as base:
        chat = await client(base).chat.completions.create(
            model="x", messages=[{"role": "user", "content": "go"}], max_tokens=4, stream=True
        )
        assert [chunk async for chunk in chat][-1].choices[0].finish_reason == "length"
        events = await client(base).responses.create(model="x", input="go", max_output_tokens=4, stream=True)
        last = [event async for event in events][-1]
    assert (last.type, last.response.incomplete_details.reason) == ("response.incomplete", "max_output_tokens")


async def test_what_is_refused_before_the_first_token_keeps_its_status() -> None:
    async with served(policy()) as base:
        with pytest.raises(openai.BadRequestError, match="temperature"):
            await client(base).responses.create(model="x", input="go", stream=True, extra_body={"temperature": "hot"})
        with pytest.raises(openai.BadRequestError, match="maximum context length"):
            await client(base).responses.create(model="x", input="go " * 5000, stream=True)


class Breaking(FakeEngine):
    """Fails in the middle of its answer."""

    async def stream(self, prompt: list[int], sampling: dict[str, Any], request_id: str) -> Any:
        count = 0
        async for part in super().stream(prompt, sampling, request_id):
            yield part
            count += 1
            if count == 3:
                raise RuntimeError("the engine fell over")


async def test_a_failure_in_the_middle_is_an_event() -> None:
    async with served(Policy(Breaking(["a long answer"] * 2), ModelConfig())) as base:
        stream = await client(base).chat.completions.create(
            model="x", messages=[{"role": "user", "content": "go"}], stream=True
        )
        with pytest.raises(openai.APIError, match="fell over"):
            [chunk async for chunk in stream]
        events = [event async for event in await client(base).responses.create(model="x", input="go", stream=True)]
    assert (events[-1].type, "fell over" in getattr(events[-1], "message", "")) == ("error", True)


class Endless(FakeEngine):
    """Goes on until it is told to stop."""

    async def stream(self, prompt: list[int], sampling: dict[str, Any], request_id: str) -> Any:
        try:
            async for part in super().stream(prompt, sampling, request_id):
                while True:
                    yield part
                    await asyncio.sleep(0)
        finally:
            self.aborted.set()


async def test_who_leaves_a_stream_ends_it_in_the_engine() -> None:
    engine = Endless(["a"])
    async with served(Policy(engine, ModelConfig())) as base:
        body = {"model": "x", "input": "go", "stream": True}
        async with aiohttp.ClientSession() as session, session.post(f"{base}/v1/responses", json=body) as response:
            await response.content.readany()
        await asyncio.wait_for(engine.aborted.wait(), 5)


class Flood(ScriptedModel):
    """Says 64 KiB at a time, without end. ``given``: how often so far."""

    def __init__(self) -> None:
        super().__init__(ModelConfig())
        self.given, self.ended = 0, asyncio.Event()

    async def stream(self, turn: Any) -> Any:
        try:
            while True:
                yield Piece(said=[("text", "x" * 65536)])
                self.given += 1
                await asyncio.sleep(0)
        finally:
            self.ended.set()


async def test_a_reader_that_stops_reading_holds_up_only_its_own_stream() -> None:
    flood = Flood()
    async with served(flood) as base:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]), limit=1024)
        body = b'{"model": "x", "input": "go", "stream": true}'
        writer.write(b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await reader.read(10)
        before = -1
        while flood.given > before:
            before = flood.given
            await asyncio.sleep(0.5)
        # Socket buffers are full, some megabytes at most, and the model stands still.
        assert flood.given < 1024
        assert (await ask("GET", f"{base}/health"))[0] == 200
        writer.close()
        await asyncio.wait_for(flood.ended.wait(), 5)


async def test_two_hundred_streams_at_once() -> None:
    async with served(policy(*["many words in one answer"] * 200, part=1)) as base:
        connector = aiohttp.TCPConnector(limit=0)
        body = {"model": "x", "messages": [{"role": "user", "content": "go"}], "stream": True}

        async def one(session: aiohttp.ClientSession) -> str:
            async with session.post(f"{base}/v1/chat/completions", json=body) as response:
                lines = [line async for line in response.content]
            assert lines[-2] == b"data: [DONE]\n"
            chunks = [json.loads(line[6:]) for line in lines[:-2] if line.startswith(b"data: ")]
            return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)

        async with aiohttp.ClientSession(connector=connector) as session:
            assert set(await asyncio.gather(*(one(session) for _ in range(200)))) == {"many words in one answer"}


@pytest.fixture
def sync_served() -> Iterator[str]:
    """An app in a thread of its own, for clients that block."""
    import threading

    ready, done, address = threading.Event(), asyncio.Event(), []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with served(policy("one two three", part=1)) as base:
            address.append(base)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    yield address[0]
    loop.call_soon_threadsafe(done.set)
    thread.join(10)
    loop.close()


def test_the_blocking_client_streams(sync_served: str) -> None:
    blocking = openai.OpenAI(base_url=f"{sync_served}/v1", api_key="none", max_retries=0)
    events = list(blocking.responses.create(model="x", input="go", stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "one two three"
    assert len(deltas) > 5


async def ask(method: str, url: str, **more: Any) -> tuple[int, Any, Any]:
    async with aiohttp.ClientSession() as session, session.request(method, url, **more) as response:
        body = await response.read()
        return response.status, json.loads(body) if body else None, response.headers


async def test_keys_are_asked_of_everybody_but_for_health() -> None:
    async with served(policy("ok", "ok"), keys=("first-key", "second-key")) as base:
        assert (await ask("GET", f"{base}/health"))[0] == 200
        for headers in ({}, {"Authorization": "Bearer first-ke"}, {"Authorization": "first-key"}):
            for method, path in (("POST", "/turn"), ("GET", "/v1/models"), ("GET", "/nothing")):
                status, body, got = await ask(method, base + path, headers=headers)
                assert (status, body["error"]["code"]) == (401, "invalid_api_key")
                assert got["WWW-Authenticate"] == "Bearer"
        for key in ("first-key", "second-key"):
            response = await client(base, key).responses.create(model="x", input="go")
            assert response.output_text == "ok"
        with pytest.raises(openai.AuthenticationError):
            await client(base, "third-key").responses.create(model="x", input="go")


async def test_http_is_answered_as_http_wants() -> None:
    async with served(policy("ok")) as base:
        for method, path, status in [
            ("GET", "/v1/responses", 405),
            ("DELETE", "/v1/models", 405),
            ("OPTIONS", "/v1/responses", 204),
            ("HEAD", "/health", 200),
            ("HEAD", "/v1/models", 200),
            ("GET", "/v1/models/fake", 200),
            ("GET", "/v1/models/other", 404),
            ("POST", "/v1/embeddings", 404),
        ]:
            got, body, headers = await ask(method, base + path)
            assert got == status, (method, path)
            assert (body is None) == (method in ("HEAD", "OPTIONS"))
            if status in (204, 405):
                assert "OPTIONS" in headers["Allow"]
        status, body, _ = await ask("POST", f"{base}/v1/responses", data=b"{")
        assert (status, "JSON" in body["error"]["message"]) == (400, True)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_without_end_is_refused(chunked: bool) -> None:
    async def endless() -> Any:
        for _ in range((MAX_BODY >> 20) + 8):
            yield b" " * (1 << 20)

    async with served(policy("ok")) as base:
        data: Any = endless() if chunked else b" " * (MAX_BODY + 1)
        status, body, _ = await ask("POST", f"{base}/turn", data=data)
        assert (status, body["error"]["code"]) == (413, "request_too_large")
        assert (await ask("GET", f"{base}/health"))[0] == 200


async def test_a_connection_serves_many_calls() -> None:
    opened = []

    async def count(*about: Any) -> None:
        opened.append(about)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(count)
    async with (
        served(policy("ok", "ok", "ok")) as base,
        aiohttp.ClientSession(trace_configs=[trace]) as session,
    ):
        for stream in (False, True, False):
            body = {"model": "x", "input": "go", "stream": stream}
            async with session.post(f"{base}/v1/responses", json=body) as response:
                await response.read()
    assert len(opened) == 1
