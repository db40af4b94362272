"""The client of our own replicas: the wire format, exact tokens over turns, replicas that die and return."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from gym_ray.models.config import ModelConfig, RetryConfig
from gym_ray.models.protocol import ModelRequest
from gym_ray.models.turn import TurnModel
from gym_ray.types.errors import FailureKind, RolloutError
from gym_ray.types.items import final_text, user_message
from gym_ray.types.tokens import TurnTokens, segments_of
from gym_ray.types.trajectory import FinishReason, Usage
from tests.models.replica import USAGE, replica
from tests.models.test_remote import free_port
from tests.support.endpoint import Endpoint, EndpointProcess, Fault


def client(*bases: str, **fields: Any) -> TurnModel:
    async def endpoints() -> list[str]:
        return list(bases)

    defaults: dict[str, Any] = {"kind": "vllm", "retry": RetryConfig(max_attempts=3, base_s=0.01, max_s=0.05)}
    return TurnModel(ModelConfig(**{**defaults, "timeout_s": 20.0, **fields}), endpoints)


def door(endpoint: Endpoint) -> str:
    return f"http://127.0.0.1:{endpoint.port}"


async def test_turns_extend_one_segment() -> None:
    async with Endpoint(replica) as endpoint:
        model = client(door(endpoint), extra_body={"top_k": 3})
        items = [user_message("a"), user_message("b")]
        first = await model.respond(ModelRequest({"temperature": 0.5}, items, "s"))
        assert endpoint.calls[0].route == "/turn"
        assert endpoint.calls[0].body == {
            "params": {"top_k": 3, "temperature": 0.5},
            "items": items,
            "session": "s",
            "covered": 0,
            "prefix": None,
        }
        assert first.usage == Usage(5, 2, 3, 1)
        assert first.finish_reason is FinishReason.STOP
        assert first.tokens == TurnTokens([0, 1], [900, 901], [-0.5, -0.25], 7)
        items = [*items, *first.items, user_message("c")]
        second = await model.respond(ModelRequest({}, items, "s", first.tokens, 3))
        assert endpoint.calls[1].body["prefix"] == [0, 1, 900, 901]
        assert second.tokens is not None
        assert second.tokens.prompt == [0, 1, 900, 901, 4]
        assert len(segments_of([first.tokens, second.tokens])) == 1
        await model.close()


async def test_no_tokens_and_a_full_context() -> None:
    full = {"items": [], "finish_reason": "context_window", "usage": USAGE, "tokens": None}
    async with Endpoint(lambda call: full) as endpoint:
        model = client(door(endpoint))
        reply = await model.respond(ModelRequest({}, [user_message("a")], "s"))
        assert (reply.items, reply.finish_reason, reply.tokens) == ([], FinishReason.CONTEXT_WINDOW, None)
        await model.close()


@pytest.mark.parametrize(
    ("fault", "kind", "terminal", "attempts"),
    [
        (
            Fault(400, {"error": {"kind": "bad_task", "reason": "no such tool", "terminal": True}}),
            FailureKind.BAD_TASK, True, 1,
        ),
        (
            Fault(500, {"error": {"kind": "nan_logprob", "reason": "NaN", "terminal": True}}),
            FailureKind.NAN_LOGPROB, True, 1,
        ),
        (
            Fault(503, {"error": {"kind": "provider_unavailable", "reason": "paused", "terminal": False}}),
            FailureKind.PROVIDER_UNAVAILABLE, False, 3,
        ),
        (Fault(500, "Internal Server Error"), FailureKind.PROVIDER_UNAVAILABLE, False, 3),
        (Fault(404, "Not Found"), FailureKind.MODEL_REJECTED_REQUEST, True, 1),
        (Fault(200, "{"), FailureKind.MODEL_INVALID_RESPONSE, False, 3),
        (Fault(200, {"items": []}), FailureKind.MODEL_INVALID_RESPONSE, False, 3),
        (
            Fault(200, {"items": [], "finish_reason": "tired", "usage": USAGE, "tokens": None}),
            FailureKind.MODEL_INVALID_RESPONSE, False, 3,
        ),
    ],
)  # fmt: skip
async def test_the_replicas_own_word_for_a_failure(
    fault: Fault, kind: FailureKind, terminal: bool, attempts: int
) -> None:
    async with Endpoint(lambda call: fault) as endpoint:
        model = client(door(endpoint))
        with pytest.raises(RolloutError) as caught:
            await model.respond(ModelRequest({}, [user_message("a")], "s"))
        assert (caught.value.kind, caught.value.terminal, len(endpoint.calls)) == (kind, terminal, attempts)
        await model.close()


async def test_waits_for_the_first_replica_to_come_up() -> None:
    listed: list[str] = []

    async def endpoints() -> list[str]:
        return listed

    async with Endpoint(replica) as endpoint:
        model = TurnModel(ModelConfig(kind="vllm", timeout_s=20, retry=RetryConfig(max_attempts=1)), endpoints)
        pending = asyncio.create_task(model.respond(ModelRequest({}, [user_message("hi")], "s")))
        await asyncio.sleep(0.5)
        listed.append(door(endpoint))
        assert final_text((await pending).items) == "hi"
        await model.close()


async def test_gives_up_at_the_deadline_when_no_replica_comes() -> None:
    model = client(timeout_s=1.0)
    began = time.monotonic()
    with pytest.raises(RolloutError, match="no replica of the model is up") as caught:
        await model.respond(ModelRequest({}, [user_message("a")], "s"))
    assert time.monotonic() - began < 20
    assert (caught.value.kind, caught.value.terminal) == (FailureKind.TRANSPORT_UNREACHABLE, False)
    await model.close()


async def test_a_list_that_hangs_does_not_outlast_the_call() -> None:
    async def endpoints() -> list[str]:
        await asyncio.sleep(60)
        return []

    model = TurnModel(ModelConfig(kind="vllm", timeout_s=0.5), endpoints)
    began = time.monotonic()
    with pytest.raises(RolloutError):
        await model.respond(ModelRequest({}, [user_message("a")], "s"))
    assert time.monotonic() - began < 30
    await model.close()


async def test_a_killed_replica_costs_no_rollout() -> None:
    """Two replicas; one is killed with calls in flight and comes back elsewhere. Nobody fails."""
    script = "tests.models.replica:replica"
    with EndpointProcess(script, latency=0.1) as first:
        doomed = EndpointProcess(script, latency=0.1)
        bases = [first.removesuffix("/v1"), doomed.__enter__().removesuffix("/v1")]

        async def endpoints() -> list[str]:
            return list(bases)

        model = TurnModel(ModelConfig(kind="vllm", timeout_s=30, retry=RetryConfig(base_s=0.05)), endpoints)

        async def rollout(number: int) -> list[str]:
            said = []
            for turn in range(5):
                text = f"{number}/{turn}"
                reply = await model.respond(ModelRequest({}, [user_message(text)], str(number)))
                said.append(final_text(reply.items))
            return said

        rollouts = [asyncio.create_task(rollout(number)) for number in range(30)]
        await asyncio.sleep(0.25)
        doomed.__exit__(None, None, None)
        await asyncio.sleep(0.1)
        with EndpointProcess(script, latency=0.1) as third:
            bases[1] = third.removesuffix("/v1")
            results = await asyncio.gather(*rollouts)
        assert results == [[f"{number}/{turn}" for turn in range(5)] for number in range(30)]
        await model.close()


async def test_the_only_replica_restarts_on_its_port() -> None:
    port = free_port()
    async with Endpoint(replica, port=port) as endpoint:
        model = client(door(endpoint))
        await model.respond(ModelRequest({}, [user_message("a")], "s"))
    pending = [
        asyncio.create_task(model.respond(ModelRequest({}, [user_message("b")], str(number)))) for number in range(10)
    ]
    await asyncio.sleep(1.0)
    async with Endpoint(replica, port=port):
        replies = await asyncio.gather(*pending)
        assert all(final_text(reply.items) == "b" for reply in replies)
        await model.close()


async def test_our_own_engines_get_no_slow_start() -> None:
    async with Endpoint(replica, latency=0.2) as endpoint:
        model = client(door(endpoint))
        requests = [ModelRequest({}, [user_message("a")], str(number)) for number in range(300)]
        await asyncio.gather(*map(model.respond, requests))
        assert endpoint.peak > 250
        await model.close()
