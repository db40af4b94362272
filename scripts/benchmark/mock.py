"""A mock OpenAI endpoint that costs next to nothing, so that what is measured is the client.

One process, one event loop, HTTP/1.1 keep-alive parsed by hand, replies precomputed as bytes. Routes:
``POST /v1/responses``, ``POST /v1/chat/completions``, ``GET /v1/models``, ``GET /stats``. Where a script has
several turns, the first replies of a conversation call the tool ``lookup``; which turn it is, is counted from
the tool outputs in the body. It shares no code with gym_ray on purpose: it is the outside world.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import time
from dataclasses import dataclass, field
from typing import Any

import uvloop

MARK = b"question-"
"""A prompt that holds this and six digits is traced: the reply's time is kept under those digits."""
TOOL_OUTPUTS = {b"/v1/responses": b"function_call_output", b"/v1/chat/completions": b'"role":"tool"'}
"""What a tool output looks like in a request body, by route (compact JSON)."""
TOKENS_PER_KB = 256


@dataclass(frozen=True)
class Script:
    """What the endpoint answers. ``latency``: median seconds; ``sigma``: of the log-normal factor, 0 is fixed.

    ``text_kb``: size of the final answer. ``tokens``: also give ids and logprobs, as vLLM does. ``turns``:
    model calls per rollout. ``trace``: keep the time of each reply by the prompt's mark. ``full``: note when
    that many requests were in flight for the first time.
    """

    latency: float = 0.0
    sigma: float = 0.0
    text_kb: float = 1.0
    tokens: bool = False
    turns: int = 1
    trace: bool = False
    full: int = 0
    seed: int = 0


@dataclass
class Counters:
    """What ``/stats`` tells. ``delays``: sum of the latencies drawn, seconds. ``first``, ``last``: Unix seconds
    of the first request and of the latest reply; ``filled``: when ``Script.full`` was reached. ``area``: requests
    in flight, summed over time until the latest request came (request-seconds); ``asked``: when that was."""

    requests: int = 0
    first: float = 0.0
    last: float = 0.0
    filled: float = 0.0
    area: float = 0.0
    asked: float = 0.0
    all_area: float = 0.0
    moved: float = 0.0
    in_flight: int = 0
    max_in_flight: int = 0
    delays: float = 0.0
    replied: dict[str, float] = field(default_factory=dict)

    def moves(self, step: int) -> float:
        """One request more, or one fewer; returns the Unix second."""
        now = time.time()
        self.all_area += self.in_flight * (now - self.moved)
        self.in_flight += step
        self.moved = now
        return now

    def body(self) -> bytes:
        """The JSON that ``/stats`` answers. ``cpu``: user + system seconds of this process so far."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return json.dumps({**vars(self), "cpu": used.ru_utime + used.ru_stime, "now": time.time()}).encode()


def answer_text(kilobytes: float) -> str:
    """Filler of the given size that ends in the answer the benchmark's tasks expect."""
    words = "so we look at each option in turn and weigh it against the others . "
    size = max(0, int(kilobytes * 1024) - 20)
    return (words * (size // len(words) + 1))[:size] + "\nAnswer: \\boxed{A}"


def replies(route: bytes, script: Script) -> list[bytes]:
    """Whole HTTP replies by turn; the last one is the final answer."""
    make = _responses_body if route == b"/v1/responses" else _chat_body
    return [http(json.dumps(make(turn, script)).encode()) for turn in range(script.turns)]


def http(body: bytes, status: str = "200 OK") -> bytes:
    """A complete HTTP/1.1 reply."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _responses_body(turn: int, script: Script) -> dict[str, Any]:
    final = turn == script.turns - 1
    text = answer_text(script.text_kb)
    item: dict[str, Any] = (
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }
        if final
        else {
            "type": "function_call",
            "id": f"fc_{turn}",
            "call_id": f"call_{turn}",
            "name": "lookup",
            "arguments": '{"key":"a"}',
            "status": "completed",
        }
    )
    if script.tokens:
        item |= _triplet(script, turn)
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "status": "completed",
        "model": "mock",
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "usage": _usage("input_tokens", "output_tokens", _sampled(script)),
    }


def _chat_body(turn: int, script: Script) -> dict[str, Any]:
    final = turn == script.turns - 1
    function = {"name": "lookup", "arguments": '{"key":"a"}'}
    message: dict[str, Any] = {"role": "assistant", "content": answer_text(script.text_kb) if final else None}
    if not final:
        message["tool_calls"] = [{"id": f"call_{turn}", "type": "function", "function": function}]
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop" if final else "tool_calls"}
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "mock",
        "choices": [choice],
        "usage": _usage("prompt_tokens", "completion_tokens", _sampled(script)),
    }
    if script.tokens:
        ids = _triplet(script, turn)
        body["prompt_token_ids"] = ids["prompt_token_ids"]
        choice["token_ids"] = ids["generation_token_ids"]
        content = [
            {"token": f"token_id:{one}", "logprob": value, "bytes": None, "top_logprobs": []}
            for one, value in zip(ids["generation_token_ids"], ids["generation_log_probs"], strict=True)
        ]
        choice["logprobs"] = {"content": content}
    return body


def _triplet(script: Script, turn: int) -> dict[str, Any]:
    """Ids and logprobs; each turn's prompt begins with everything of the turns before it."""
    sampled = _sampled(script)
    ids = [1000 + (7 * position) % 30000 for position in range((turn + 1) * (64 + sampled))]
    prompt = turn * (64 + sampled) + 64
    return {
        "prompt_token_ids": ids[:prompt],
        "generation_token_ids": ids[prompt : prompt + sampled],
        "generation_log_probs": [-0.0123456789 * (1 + position % 50) for position in range(sampled)],
    }


def _sampled(script: Script) -> int:
    return max(1, int(script.text_kb * TOKENS_PER_KB))


def _usage(given: str, made: str, sampled: int) -> dict[str, int]:
    return {given: 64, made: sampled, "total_tokens": 64 + sampled}


class Connection(asyncio.Protocol):
    """One client connection. Requests on it are answered in the order in which they become due."""

    def __init__(self, script: Script, counters: Counters, made: dict[bytes, list[bytes]]) -> None:
        self._script, self._counters, self._made = script, counters, made
        self._random = random.Random(script.seed)
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._needed = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= max(self._needed, 1):
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(buffer[:end]).lower()
            self._needed = end + 4 + _length(head)
            if len(buffer) < self._needed:
                return
            body = bytes(buffer[end + 4 : self._needed])
            del buffer[: self._needed]
            self._needed = 0
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        made = self._made.get(path)
        if made is None:
            self._transport.write(self._other(path))
            return
        counters, script = self._counters, self._script
        turn = body.count(TOOL_OUTPUTS[path]) if script.turns > 1 else 0
        reply = made[min(turn, script.turns - 1)]
        counters.requests += 1
        now = counters.moves(1)
        counters.first = counters.first or now
        counters.asked, counters.area = now, counters.all_area
        if counters.in_flight > counters.max_in_flight:
            counters.max_in_flight = counters.in_flight
            if counters.in_flight == script.full:
                counters.filled = now
        delay = script.latency
        if script.sigma:
            delay *= self._random.lognormvariate(0.0, script.sigma)
        if delay:
            counters.delays += delay
            self._loop.call_later(delay, self._reply, reply, body)
        else:
            self._reply(reply, body)

    def _other(self, path: bytes) -> bytes:
        if path == b"/stats":
            return http(self._counters.body())
        if path == b"/v1/models":
            # A client that asks who serves learns whether exact token ids can be had.
            owner = "vllm" if self._script.tokens else "mock"
            return http(json.dumps({"data": [{"id": "mock", "object": "model", "owned_by": owner}]}).encode())
        return http(b'{"error":{"message":"no such route"}}', "404 Not Found")

    def _reply(self, reply: bytes, body: bytes) -> None:
        self._counters.last = self._counters.moves(-1)
        if self._script.trace:
            at = body.find(MARK)
            mark = body[at + len(MARK) : at + len(MARK) + 6].decode()
            self._counters.replied[mark] = self._counters.last
        if not self._transport.is_closing():
            self._transport.write(reply)


def _length(head: bytes) -> int:
    at = head.find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def serve(script: Script, port: int) -> None:
    """Serve for ever on 127.0.0.1; prints the port (0: any free one) once it listens."""
    made = {route: replies(route, script) for route in TOOL_OUTPUTS}
    counters = Counters()
    seeds = iter(range(script.seed, 1 << 62))

    def connect() -> Connection:
        return Connection(Script(**{**vars(script), "seed": next(seeds)}), counters, made)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(connect, "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """``python -m benchmark.mock --script '{"latency": 0.5}' --port 0``"""
    parser = argparse.ArgumentParser(description="Mock OpenAI endpoint")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", type=json.loads, default={}, help="fields of Script, as JSON")
    arguments = parser.parse_args()
    uvloop.run(serve(Script(**arguments.script), arguments.port))


if __name__ == "__main__":
    main()
