"""The remote client over real sockets: dialects, every way an endpoint can fail, exact tokens, secrets."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import pickle
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from gym_ray.models import http
from gym_ray.models.config import ModelConfig, RetryConfig
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.models.remote import RemoteModel, room_left
from gym_ray.types.errors import FailureKind, RolloutError, UserError
from gym_ray.types.items import final_text, function_call_output, function_calls, user_message
from gym_ray.types.tokens import segments_of
from gym_ray.types.trajectory import FinishReason
from tests.support.endpoint import Call, Endpoint, EndpointProcess, Fault, Say, add_numbers

QUICK = RetryConfig(max_attempts=3, base_s=0.01, max_s=0.05)
KEY = "sk-veryverysecret0123456789"


def config(*bases: str, **fields: Any) -> ModelConfig:
    defaults: dict[str, Any] = {"dialect": "chat", "token_ids": "off", "retry": QUICK, "timeout_s": 10.0, "name": "m"}
    return ModelConfig(base_url=list(bases), **{**defaults, **fields})


def ask(text: str = "hello", session: str = "s", **params: Any) -> ModelRequest:
    return ModelRequest(params, [user_message(text)], session)


async def reply_of(settings: ModelConfig, request: ModelRequest | None = None) -> ModelReply:
    model = RemoteModel(settings)
    try:
        return await model.respond(request or ask())
    finally:
        await model.close()


async def error_of(settings: ModelConfig, request: ModelRequest | None = None) -> RolloutError:
    with pytest.raises(RolloutError) as caught:
        await reply_of(settings, request)
    assert type(caught.value) is RolloutError
    assert pickle.loads(pickle.dumps(caught.value)).kind == caught.value.kind
    return caught.value


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def once(*first: Any) -> Callable[[Call], Any]:
    """Each of ``first`` in turn, then a good answer."""
    return lambda call: first[call.number] if call.number < len(first) else "fine"


# Dialects


@pytest.mark.parametrize("dialect", ["chat", "responses", "auto"])
async def test_both_dialects_call_tools_and_answer(dialect: str) -> None:
    async with Endpoint(add_numbers) as endpoint:
        model = RemoteModel(config(endpoint.base_url, dialect=dialect))
        tool = {"type": "function", "name": "add", "parameters": {"type": "object"}}
        first = await model.respond(ask("2 and 3", tools=[tool]))
        assert first.finish_reason is FinishReason.TOOL_CALLS
        [call] = function_calls(first.items)
        assert json.loads(call["arguments"]) == {"a": 2, "b": 3}
        items = [user_message("2 and 3"), *first.items, function_call_output(call["call_id"], "5")]
        second = await model.respond(ModelRequest({"tools": [tool]}, items, "s"))
        assert final_text(second.items) == "The answer is 5."
        assert {call.route for call in endpoint.calls} == {"/chat/completions" if dialect == "chat" else "/responses"}
        await model.close()


async def test_auto_leaves_responses_for_good_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gym_ray")
    async with Endpoint(dialects=("chat",)) as endpoint:
        model = RemoteModel(config(endpoint.base_url, dialect="auto"))
        await asyncio.gather(*(model.respond(ask(session=str(n))) for n in range(20)))
        tried = [call.route for call in endpoint.calls].count("/responses")
        await asyncio.gather(*(model.respond(ask(session=str(n))) for n in range(20)))
        assert [call.route for call in endpoint.calls].count("/responses") == tried
        assert sum("using /chat/completions from now on" in record.message for record in caplog.records) == 1
        await model.close()


async def test_a_model_that_does_not_exist_is_not_a_missing_route() -> None:
    body = {"error": {"message": "The model `m` does not exist.", "type": "NotFoundError", "code": 404}}
    async with Endpoint(lambda call: Fault(404, body)) as endpoint:
        error = await error_of(config(endpoint.base_url, dialect="auto"))
    assert error.kind == FailureKind.MODEL_REJECTED_REQUEST
    assert [call.route for call in endpoint.calls] == ["/responses"]


async def test_settings_reach_the_request() -> None:
    async with Endpoint() as endpoint:
        settings = config(endpoint.base_url, extra_body={"top_k": 4, "min_p": 0.1}, headers={"X-Team": "blue"})
        metadata = {"extra_body": '{"min_p": 0.2}', "chat_template_kwargs": '{"enable_thinking": false}', "note": "n"}
        request = ask(metadata=metadata, max_output_tokens=9)
        await reply_of(settings, request)
        await reply_of(settings.model_copy(update={"dialect": "responses"}), request)
    chat, responses = endpoint.calls
    common = {"model": "m", "top_k": 4, "min_p": 0.2, "chat_template_kwargs": {"enable_thinking": False}}
    assert chat.body == {**common, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    assert responses.body == {
        **common, "max_output_tokens": 9, "metadata": {"note": "n"}, "input": [user_message("hello")]
    }  # fmt: skip
    assert chat.headers["X-Team"] == "blue"
    assert chat.headers["Content-Type"] == "application/json"


async def test_json_that_orjson_refuses_still_travels() -> None:
    async with Endpoint() as endpoint:
        reply = await reply_of(config(endpoint.base_url), ask("lone \ud800 surrogate", seed=2**70))
        assert final_text(reply.items) == "lone \ud800 surrogate"
        assert endpoint.calls[0].body["seed"] == 2**70
        error = await error_of(config(endpoint.base_url), ask(odd=object()))
        assert error.kind == FailureKind.BAD_TASK


# Failures


@pytest.mark.parametrize(
    ("fault", "kind", "terminal", "attempts"),
    [
        (Fault(500), FailureKind.PROVIDER_UNAVAILABLE, False, 3),
        (Fault(503, retry_after="0"), FailureKind.PROVIDER_UNAVAILABLE, False, 3),
        (Fault(429, retry_after="0.01"), FailureKind.PROVIDER_QUOTA_EXHAUSTED, False, 3),
        (Fault(429, {"error": {"code": "insufficient_quota"}}), FailureKind.PROVIDER_QUOTA_EXHAUSTED, True, 1),
        (Fault(drop="start"), FailureKind.TRANSPORT_PEER_DROP, False, 3),
        (Fault(drop="middle"), FailureKind.TRANSPORT_PEER_DROP, False, 3),
        (Fault(200, "<html>bad gateway"), FailureKind.MODEL_INVALID_RESPONSE, False, 3),
        (Fault(200, '{"choices": ['), FailureKind.MODEL_INVALID_RESPONSE, False, 3),
        (Fault(200, "[]"), FailureKind.MODEL_INVALID_RESPONSE, False, 3),
        (Fault(200, {"choices": []}), FailureKind.MODEL_INVALID_RESPONSE, False, 3),
        (Fault(200, {"error": {"code": 429, "message": "slow down"}}), FailureKind.PROVIDER_QUOTA_EXHAUSTED, False, 3),
        (Fault(200, {"error": "upstream died"}), FailureKind.PROVIDER_UNAVAILABLE, False, 3),
        (Fault(400, {"error": {"message": "no"}}), FailureKind.MODEL_REJECTED_REQUEST, True, 1),
        (Fault(401, {"detail": "who?"}), FailureKind.MODEL_REJECTED_REQUEST, True, 1),
        (Fault(307), FailureKind.MODEL_REJECTED_REQUEST, True, 1),
        (Fault(402, {"error": {"message": "Insufficient Balance"}}), FailureKind.PROVIDER_QUOTA_EXHAUSTED, True, 1),
        (Fault(529, {"error": {"type": "overloaded_error"}}), FailureKind.PROVIDER_UNAVAILABLE, False, 3),
        (Fault(429, "[{}]", headers={"Retry-After-Ms": "5"}), FailureKind.PROVIDER_QUOTA_EXHAUSTED, False, 3),
        (
            Fault(200, {"choices": [{"error": {"message": "upstream"}, "finish_reason": "error"}]}),
            FailureKind.PROVIDER_UNAVAILABLE,
            False,
            3,
        ),
    ],
)
async def test_each_failure_has_its_kind_and_its_budget(
    fault: Fault, kind: FailureKind, terminal: bool, attempts: int
) -> None:
    async with Endpoint(lambda call: fault) as endpoint:
        error = await error_of(config(endpoint.base_url))
        assert (error.kind, error.stage, error.terminal) == (kind, "model", terminal)
        assert len(endpoint.calls) == attempts
        assert ("attempts" in error.reason) == (attempts > 1)


async def test_who_is_sent_elsewhere_is_told_where() -> None:
    away = {"Location": "https://login.example/start?token=hush-hush"}
    async with Endpoint(lambda call: Fault(302, "", headers=away)) as endpoint:
        reason = (await error_of(config(endpoint.base_url))).reason
    assert "redirects to https://login.example/start;" in reason
    async with Endpoint(lambda call: Fault(200, "\n<!doctype html><title>Log in")) as endpoint:
        assert "a web page" in (await error_of(config(endpoint.base_url))).reason


async def test_compressed_answers_are_read_though_not_asked_for() -> None:
    body = gzip.compress(b'\xef\xbb\xbf\n {"choices": [{"message": {"content": "fine"}}]}')

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        reply = await reply_of(config(f"http://127.0.0.1:{runner.addresses[0][1]}/v1"))
    finally:
        await runner.cleanup()
    assert final_text(reply.items) == "fine"


@pytest.mark.parametrize(
    "fault", [Fault(500), Fault(429), Fault(drop="start"), Fault(drop="middle"), Fault(200, "{"), Fault(408)]
)
async def test_a_passing_failure_is_survived(fault: Fault) -> None:
    async with Endpoint(once(fault, fault)) as endpoint:
        assert final_text((await reply_of(config(endpoint.base_url))).items) == "fine"


async def test_nobody_listens() -> None:
    error = await error_of(config(f"http://127.0.0.1:{free_port()}/v1"))
    assert error.kind == FailureKind.TRANSPORT_UNREACHABLE
    assert not error.terminal
    assert "cannot connect to http://127.0.0.1" in error.reason


async def test_something_else_than_http_listens() -> None:
    async def gibberish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(gibberish, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await error_of(config(f"http://127.0.0.1:{port}/v1"))
    assert error.kind == FailureKind.MODEL_INVALID_RESPONSE


async def test_a_connection_that_is_never_accepted_has_its_own_deadline() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        host, port = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((host, port))
        began = time.monotonic()
        error = await error_of(config(f"http://{host}:{port}/v1", connect_timeout_s=0.2))
        assert time.monotonic() - began < 9
        assert error.kind == FailureKind.TRANSPORT_UNREACHABLE
        assert "within 0.2 s" in error.reason
        for filler in fillers:
            filler.close()


async def test_an_answer_that_never_comes() -> None:
    async with Endpoint(latency=60.0) as endpoint:
        began = time.monotonic()
        error = await error_of(config(endpoint.base_url, timeout_s=0.3))
        assert 0.25 < time.monotonic() - began < 30
        assert (error.kind, error.terminal) == (FailureKind.TRANSPORT_TIMEOUT, False)


async def test_the_servers_retry_after_is_waited_for() -> None:
    async with Endpoint(once(Fault(429, retry_after="0.4"))) as endpoint:
        began = time.monotonic()
        await reply_of(config(endpoint.base_url))
        assert time.monotonic() - began >= 0.4


async def test_a_retry_after_beyond_the_deadline_ends_the_call_at_once() -> None:
    async with Endpoint(lambda call: Fault(429, retry_after="3600")) as endpoint:
        began = time.monotonic()
        error = await error_of(config(endpoint.base_url))
        assert time.monotonic() - began < 9
        assert error.kind == FailureKind.PROVIDER_QUOTA_EXHAUSTED


async def test_too_many_open_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    async with Endpoint() as endpoint:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as probe:
            resource.setrlimit(resource.RLIMIT_NOFILE, (probe.fileno() + 1, hard))
            try:
                error = await error_of(config(endpoint.base_url))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert error.kind == FailureKind.TRANSPORT_LOCAL_RESOURCE


async def test_a_killed_endpoint_drops_and_then_is_unreachable() -> None:
    process = EndpointProcess(latency=30.0)
    with process as base_url:
        pending = asyncio.create_task(error_of(config(base_url)))
        await asyncio.sleep(0.5)
        process.process.kill()
        error = await pending
    assert error.kind in (FailureKind.TRANSPORT_PEER_DROP, FailureKind.TRANSPORT_UNREACHABLE)
    assert "3 attempts" in error.reason


async def test_a_cancelled_call_frees_its_place() -> None:
    async with Endpoint(latency=lambda call: 30.0 if call.number == 0 else 0.0) as endpoint:
        model = RemoteModel(config(endpoint.base_url, max_concurrency=1))
        stuck = asyncio.create_task(model.respond(ask()))
        await asyncio.sleep(0.2)
        waiting = asyncio.create_task(model.respond(ask()))
        await asyncio.sleep(0.1)
        stuck.cancel()
        assert final_text((await asyncio.wait_for(waiting, 5)).items) == "hello"
        await model.close()


# The context window

VLLM_FULL = (
    "This model's maximum context length is 64 tokens. However, your prompt contains 80 input tokens, which exceeds "
    "this limit even without any output tokens. Please reduce the length of the input prompt."
)
VLLM_ROOM = (
    "'max_tokens' or 'max_completion_tokens' is too large: 60. This model's maximum context length is 64 tokens "
    "and your request has 24 input tokens (60 > 64 - 24)."
)
OPENAI_ROOM = (
    "This model's maximum context length is 4097 tokens. However, you requested 5000 tokens (1000 in the messages, "
    "4000 in the completion). Please reduce the length of the messages or completion."
)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": VLLM_FULL, "type": "BadRequestError", "code": 400}},
        {"error": {"message": "too much", "code": "context_length_exceeded"}},
        {"error": {"message": "prompt is too long: 300000 tokens > 200000 maximum"}},
        {"detail": "The decoder prompt (length 80) is longer than the maximum model length of 64."},
        "Input length (80) exceeds model's maximum context length (64).",
    ],
)
@pytest.mark.parametrize("dialect", ["chat", "responses"])
async def test_a_prompt_beyond_the_window_is_a_reply(body: Any, dialect: str) -> None:
    async with Endpoint(lambda call: Fault(400, body)) as endpoint:
        reply = await reply_of(config(endpoint.base_url, dialect=dialect))
        assert (reply.finish_reason, reply.items, reply.tokens) == (FinishReason.CONTEXT_WINDOW, [], None)
        assert len(endpoint.calls) == 1


def test_room_is_read_from_the_message() -> None:
    newer = "max_tokens=5000 cannot be greater than max_model_len=256. Please request fewer output tokens."
    assert room_left(newer) == 256
    assert (room_left(VLLM_ROOM), room_left(OPENAI_ROOM), room_left(VLLM_FULL)) == (40, 3097, 0)


async def test_an_answer_longer_than_the_room_is_asked_for_again_with_what_fits() -> None:
    def script(call: Call) -> Any:
        fits = call.body["max_tokens"] <= 40
        return Say("cut", finish_reason="length") if fits else Fault(400, {"error": {"message": VLLM_ROOM}})

    async with Endpoint(script) as endpoint:
        reply = await reply_of(config(endpoint.base_url), ask(max_output_tokens=60))
        assert reply.finish_reason is FinishReason.LENGTH
        assert [call.body["max_tokens"] for call in endpoint.calls] == [60, 40]
    newer = {"error": {"message": "max_tokens=60 cannot be greater than max_model_len=50.", "code": 400}}
    async with Endpoint(lambda call: Fault(400, newer) if call.body["max_tokens"] > 50 else "fine") as endpoint:
        assert final_text((await reply_of(config(endpoint.base_url), ask(max_output_tokens=60))).items) == "fine"
    async with Endpoint(lambda call: Fault(400, {"error": {"message": VLLM_ROOM}})) as endpoint:
        assert (await reply_of(config(endpoint.base_url))).finish_reason is FinishReason.CONTEXT_WINDOW


# Several addresses


async def test_sessions_stick_and_move_on_when_an_address_dies() -> None:
    async with Endpoint() as first:
        second = await Endpoint().__aenter__()
        model = RemoteModel(config(first.base_url, second.base_url, retry=RetryConfig(max_attempts=3)))
        for _ in range(2):
            await asyncio.gather(*(model.respond(ask(text=str(n), session=str(n))) for n in range(40)))
        homes = [{call.question for call in endpoint.calls} for endpoint in (first, second)]
        assert homes[0].isdisjoint(homes[1])
        assert min(map(len, homes)) > 5
        await second.__aexit__()
        began = time.monotonic()
        await asyncio.gather(*(model.respond(ask(text=str(n), session=str(n))) for n in range(40)))
        assert time.monotonic() - began < 2, "no backoff before trying the other address"
        assert {call.question for call in first.calls} == {str(n) for n in range(40)}
        await model.close()


async def test_an_address_that_keeps_failing_is_left_within_the_call() -> None:
    async with Endpoint(lambda call: Fault(500)) as sick, Endpoint() as well:
        model = RemoteModel(config(sick.base_url, well.base_url))
        await asyncio.gather(*(model.respond(ask(session=str(n))) for n in range(20)))
        assert len(sick.calls) % 2 == 0
        assert len(sick.calls) > 0
        await model.close()


# Exact tokens


async def test_auto_asks_a_vllm_for_ids_and_nobody_else() -> None:
    async with Endpoint(tokens="vllm", owned_by="vllm") as endpoint:
        reply = await reply_of(config(endpoint.base_url, token_ids="auto", dialect="auto"))
        assert endpoint.calls[0].route == "/chat/completions"
        assert reply.tokens is not None
        assert len(reply.tokens.sampled) == len(reply.tokens.logprobs) > 0
    for owner in ("openai", "nobody"):
        async with Endpoint(tokens="vllm", owned_by=owner) as endpoint:
            reply = await reply_of(config(endpoint.base_url, token_ids="auto"))
            assert reply.tokens is None
            assert set(endpoint.calls[0].body) == {"model", "messages"}


async def test_an_endpoint_that_is_down_fails_all_who_wait_to_learn_at_once() -> None:
    model = RemoteModel(config(f"http://127.0.0.1:{free_port()}/v1", token_ids="auto"))
    began = time.monotonic()
    results = await asyncio.gather(*(model.respond(ask(session=str(n))) for n in range(50)), return_exceptions=True)
    assert {getattr(result, "kind", None) for result in results} == {FailureKind.TRANSPORT_UNREACHABLE}
    assert time.monotonic() - began < 2
    await model.close()


async def test_insisting_on_ids_that_do_not_come_is_an_error() -> None:
    async with Endpoint() as endpoint:
        error = await error_of(config(endpoint.base_url, token_ids="vllm"))
        assert error.terminal
        assert "model.token_ids=vllm" in error.reason
        assert len(endpoint.calls) == 1


async def test_the_nemo_rl_contract() -> None:
    async with Endpoint(add_numbers, tokens="nemo_rl") as endpoint:
        model = RemoteModel(config(endpoint.base_url, token_ids="nemo_rl"))
        items = [user_message("2 and 3")]
        first = await model.respond(ModelRequest({"top_p": 0.9}, items, "s"))
        assert first.tokens is not None
        body = endpoint.calls[0].body
        assert (body["temperature"], body["top_p"]) == (1.0, 0.9)
        assert body["logprobs"] is True
        assert body["top_logprobs"] == 0
        assert body["return_tokens_as_token_ids"] is True
        items = [*items, *first.items]
        covered = len(items)
        items.append(function_call_output("call_0_0", "5"))
        second = await model.respond(ModelRequest({}, items, "s", first.tokens, covered))
        bearer = endpoint.calls[1].body["messages"][1]
        assert bearer["role"] == "assistant"
        assert bearer["prompt_token_ids"] == first.tokens.prompt
        assert bearer["generation_token_ids"] == first.tokens.sampled
        assert bearer["generation_log_probs"] == first.tokens.logprobs
        assert second.tokens is not None
        assert len(segments_of([first.tokens, second.tokens])) == 1
        assert not any("prompt_token_ids" in item for item in items), "the conversation's items are not touched"
        await model.close()


@pytest.mark.parametrize("token_ids", ["auto", "vllm", "nemo_rl"])
async def test_older_servers_name_sampled_ids_and_tokenize_the_prompt(token_ids: str) -> None:
    async with Endpoint(add_numbers, tokens="named", owned_by="vllm") as endpoint:
        model = RemoteModel(config(endpoint.base_url, token_ids=token_ids))
        items = [user_message("2 and 3")]
        tool = {"type": "function", "name": "add", "parameters": {"type": "object"}}
        extra = {
            "extra_body": '{"mm_processor_kwargs": {"fps": 1}}',
            "chat_template_kwargs": '{"enable_thinking": false}',
        }
        first = await model.respond(ModelRequest({"tools": [tool], "metadata": extra}, items, "s"))
        assert first.tokens is not None
        assert bytes(first.tokens.sampled[:-1]).decode().startswith("I should add.add")
        asked, told = endpoint.calls
        assert (asked.route, told.route) == ("/chat/completions", "/tokenize")
        same = ("model", "messages", "tools", "chat_template_kwargs", "mm_processor_kwargs")
        assert told.body == {name: asked.body[name] for name in same} | {"add_generation_prompt": True}

        items = [*items, *first.items]
        items.append(function_call_output("call_0_0", "5"))
        second = await model.respond(ModelRequest({}, items, "s", first.tokens, len(items) - 1))
        assert second.tokens is not None
        assert len(segments_of([first.tokens, second.tokens])) == 1
        prefix = endpoint.calls[-1].body.get("required_prefix_token_ids")
        assert prefix == (first.tokens.prompt + first.tokens.sampled if token_ids == "nemo_rl" else None)
        await model.close()


@pytest.mark.parametrize("token_ids", ["auto", "vllm"])
async def test_a_prompt_that_nobody_tokenizes_is_unknown(token_ids: str) -> None:
    def named(call: Call) -> Any:
        logprobs = {"content": [{"token": "token_id:7", "logprob": -1.0}]}
        return {"choices": [{"message": {"content": "x"}, "logprobs": logprobs}]} if call.number == 0 else Fault(404)

    async with Endpoint(named, owned_by="vllm") as endpoint:
        settings = config(endpoint.base_url, token_ids=token_ids)
        if token_ids == "auto":
            assert (await reply_of(settings)).tokens is None
        else:
            assert "model.token_ids=vllm" in (await error_of(settings)).reason
        assert [call.route for call in endpoint.calls] == ["/chat/completions", "/tokenize"]


async def test_the_routing_of_experts_is_passed_on() -> None:
    def routed(call: Call) -> Any:
        return {
            "choices": [{"message": {"content": "x", "reasoning": "y", "routed_experts": "nrlre1:uint8:2x1x1:AAA="}}]
        }

    async with Endpoint(routed) as endpoint:
        items = (await reply_of(config(endpoint.base_url))).items
    assert [item.get("routed_experts") for item in items] == [None, "nrlre1:uint8:2x1x1:AAA="]


async def test_a_nan_as_python_servers_write_it() -> None:
    async with Endpoint(lambda call: Say("x", tokens=([1], [2], [float("nan")])), tokens="nemo_rl") as endpoint:
        error = await error_of(config(endpoint.base_url, token_ids="nemo_rl"))
        assert error.kind == FailureKind.NAN_LOGPROB
        assert len(endpoint.calls) == 1


async def test_a_host_that_vanishes_is_noticed_by_the_socket() -> None:
    async with Endpoint() as endpoint:
        model = RemoteModel(config(endpoint.base_url))
        seen: list[socket.socket] = []
        made = http._make_socket
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(http, "_make_socket", lambda where: seen.append(made(where)) or seen[-1])
            await model.respond(ask())
        assert seen[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert 0 < seen[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 60_000
        await model.close()


# Secrets


@pytest.mark.parametrize(
    "fault",
    [
        Fault(401, {"error": {"message": f"Incorrect API key provided: {KEY}. You sent 'Bearer {KEY}'"}}),
        Fault(401, {"error": {"message": "Incorrect API key provided: sk-very****6789"}}),
        Fault(500, f"Traceback: headers={{'Authorization': 'Bearer {KEY}', 'X-Token': 'hush-hush-hush'}}"),
        Fault(200, {"id": "r", "status": "failed", "error": {"code": "x", "message": f"key {KEY}"}}),
        Fault(400, "x" * 490 + KEY),
        Fault(drop="start"),
    ],
)
async def test_no_secret_in_errors_logs_or_repr(
    fault: Fault, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TEST_KEY", f"{KEY}\n")
    dialect = "responses" if fault.status == 200 else "chat"
    async with Endpoint(lambda call: fault) as endpoint:
        settings = config(
            endpoint.base_url.replace("//", "//user:hunter22@") if fault.drop else endpoint.base_url,
            dialect=dialect,
            headers={"X-Token": "hush-hush-hush"},
            api_key_env=None if fault.drop else "TEST_KEY",
        )
        model = RemoteModel(settings)
        with pytest.raises(RolloutError) as caught:
            await model.respond(ask())
        sent = endpoint.calls[0].headers["Authorization"]
        assert sent == f"Bearer {KEY}" or fault.drop
        error = caught.value
        chain = [error, error.__cause__, None if error.__suppress_context__ else error.__context__]
        seen = repr(chain) + str(error) + repr(model) + repr(vars(error)) + caplog.text
        for secret in (KEY, KEY[:12], "sk-very", "hush-hush", "hunter22"):
            assert secret not in seen
        await model.close()


def test_mistakes_in_settings_are_named_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(UserError, match="NO_SUCH_KEY is not set"):
        RemoteModel(config("http://h/v1", api_key_env="NO_SUCH_KEY"))
    with pytest.raises(UserError, match="base_url is not set"):
        RemoteModel(ModelConfig())


# Concurrency


async def test_the_pool_keeps_connections_and_the_gate_keeps_the_limit() -> None:
    async with Endpoint(latency=0.01) as endpoint:
        model = RemoteModel(config(endpoint.base_url, max_concurrency=8))
        await asyncio.gather(*(model.respond(ask(session=str(n))) for n in range(80)))
        assert endpoint.peak == 8
        assert len(endpoint.connections) == 8
        await model.close()


async def test_concurrency_adapts_to_what_the_endpoint_bears() -> None:
    bearable = 100
    # Long enough that the limit, not the speed of this machine, decides how many are there at once.
    async with Endpoint(latency=0.1) as endpoint:
        endpoint.script = lambda call: Fault(429, retry_after="0.05") if endpoint.in_flight > bearable else "ok"
        generous = RetryConfig(max_attempts=50, base_s=0.02, max_s=0.1)
        model = RemoteModel(config(endpoint.base_url, retry=generous, timeout_s=30))
        await asyncio.gather(*(model.respond(ask(session=str(n))) for n in range(1500)))
        limit = model._caller._gate.limit
        assert not limit.ramping
        assert limit.limit < 130
        assert bearable * 0.6 < endpoint.peak <= 130
        await model.close()
