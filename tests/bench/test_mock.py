"""The mock endpoint speaks HTTP to a real client over a real socket."""

import asyncio
import json
import socket
import time

import aiohttp
import pytest
from benchmark.endpoint import Endpoint, endpoint
from benchmark.floor import run
from benchmark.mock import Script

USER = {"role": "user", "content": "question-000007 which?"}


async def post(mock: Endpoint, route: str, body: dict[str, object]) -> dict[str, object]:
    """One request, its JSON reply."""
    data = json.dumps(body, separators=(",", ":"))
    async with aiohttp.ClientSession() as session, session.post(f"{mock.base_url}/{route}", data=data) as reply:
        assert reply.status == 200
        answer: dict[str, object] = await reply.json()
        return answer


@pytest.mark.parametrize("kilobytes", [1, 20, 200])
async def test_the_reply_has_the_size_asked_for(kilobytes: int) -> None:
    with endpoint(Script(text_kb=kilobytes)) as mock:
        answer = await post(mock, "responses", {"input": [USER]})
    text = answer["output"][0]["content"][0]["text"]  # type: ignore[index]
    assert len(text) == pytest.approx(kilobytes * 1024, rel=0.02)
    assert text.endswith("\\boxed{A}")


async def test_three_turns_follow_the_tool_outputs() -> None:
    items: list[object] = [USER]
    kinds = []
    with endpoint(Script(turns=3)) as mock:
        for _ in range(3):
            answer = await post(mock, "responses", {"input": items})
            item = answer["output"][0]  # type: ignore[index]
            kinds.append(item["type"])
            items += [item, {"type": "function_call_output", "call_id": item.get("call_id"), "output": "1"}]
    assert kinds == ["function_call", "function_call", "message"]


async def test_chat_gives_token_ids_that_extend_each_other() -> None:
    messages: list[object] = [USER]
    with endpoint(Script(turns=2, tokens=True)) as mock:
        first = await post(mock, "chat/completions", {"messages": messages})
        messages += [first["choices"][0]["message"], {"role": "tool", "tool_call_id": "call_0", "content": "1"}]  # type: ignore[index]
        second = await post(mock, "chat/completions", {"messages": messages})
    choice = first["choices"][0]  # type: ignore[index]
    seen = first["prompt_token_ids"] + choice["token_ids"]  # type: ignore[operator]
    assert second["prompt_token_ids"][: len(seen)] == seen  # type: ignore[index]
    assert len(choice["logprobs"]["content"]) == len(choice["token_ids"])


async def test_latency_is_kept_and_traced() -> None:
    with endpoint(Script(latency=0.2, trace=True)) as mock:
        began = time.time()
        await asyncio.gather(*(post(mock, "responses", {"input": [USER]}) for _ in range(8)))
        elapsed = time.time() - began
        stats = mock.stats()
    assert 0.2 <= elapsed < 1.5, "one after the other takes 1.6 s"
    assert stats["requests"] == 8
    assert stats["max_in_flight"] == 8
    assert stats["replied"]["000007"] == pytest.approx(began + elapsed, abs=0.2)


async def test_log_normal_latencies_differ_around_their_median() -> None:
    with endpoint(Script(latency=0.05, sigma=0.5, seed=3)) as mock:
        await asyncio.gather(*(post(mock, "responses", {"input": [USER]}) for _ in range(64)))
        delays = mock.stats()["delays"]
    # The mean of a log-normal is median * exp(sigma^2 / 2).
    assert delays / 64 == pytest.approx(0.05 * 1.133, rel=0.3)


def test_requests_in_pieces_and_in_one_piece() -> None:
    with (
        endpoint(Script()) as mock,
        socket.create_connection(("127.0.0.1", int(mock.base_url.split(":")[2][:-3]))) as peer,
    ):
        body = json.dumps({"input": [USER]}).encode()
        request = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        for start in range(0, len(request), 40):
            peer.sendall(request[start : start + 40])
            time.sleep(0.002)
        peer.sendall(request + request)
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 3:
            received += peer.recv(65536)
        assert mock.stats()["requests"] == 3


async def test_a_request_costs_the_mock_microseconds() -> None:
    with endpoint(Script()) as mock:
        before = mock.stats()
        await run(mock.base_url, 4000, 32)
        after = mock.stats()
    assert after["requests"] - before["requests"] == 4000
    # Measured 12 us; the bound only catches a mock that would be part of what it measures.
    assert (after["cpu"] - before["cpu"]) / 4000 < 100e-6
