"""A scripted OpenAI-compatible endpoint on loopback, for tests.

A *script* is a function from a :class:`Call` to what the endpoint does with it:

- ``"text"`` or :class:`Say`: answer (both ``/chat/completions`` and ``/responses`` understand it);
- :class:`Fault`: an error status, garbage, a dropped connection, ...;
- a ``dict``: sent as it is with status 200 (any path, so ``/turn`` can be scripted too).

In the test's own event loop::

    async with Endpoint(lambda call: "B" if call.number else Fault(429, retry_after="1")) as endpoint:
        model = RemoteModel(ModelConfig(base_url=endpoint.base_url))

As a process of its own (tests that start Ray, or kill things)::

    with EndpointProcess("tests.support.endpoint:add_numbers", latency=0.1) as base_url: ...

By hand: ``python -m tests.support.endpoint --port 8000 --script package.module:function --latency 0.1``.

Exact token ids (``tokens="vllm"``, ``"nemo_rl"``, or ``"named"``: as ``token_id:5``, with prompts by
``/tokenize``) come from :func:`toy_ids`: one id per UTF-8 byte between an id for the role and an end token, so
that each prompt of a plain conversation extends the turn before it.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

Json = dict[str, Any]
END, ROLES = 256, {"system": 257, "developer": 257, "user": 258, "assistant": 259, "tool": 260}


@dataclass
class Call:
    """One request. ``number``: 0 for the endpoint's first POST. ``route``: ``/chat/completions``, ..."""

    number: int
    route: str
    body: Json
    headers: dict[str, str]

    @property
    def items(self) -> list[Json]:
        """The conversation: chat messages, or Responses items."""
        given = self.body.get("messages", self.body.get("input", self.body.get("items", [])))
        return [{"role": "user", "content": given}] if isinstance(given, str) else given

    @property
    def question(self) -> str:
        """Text of the last user message."""
        return next((_text(item.get("content")) for item in reversed(self.items) if item.get("role") == "user"), "")

    @property
    def outputs(self) -> list[str]:
        """What tools have answered so far, in order."""
        found = []
        for item in self.items:
            if item.get("role") == "tool":
                found.append(_text(item["content"]))
            elif item.get("type") == "function_call_output":
                found.append(_text(item["output"]))
        return found


@dataclass
class Say:
    """An answer. ``calls``: (tool name, arguments as JSON text or object). ``finish_reason``: chat's word, None:
    by what there is. ``tokens``: (prompt ids, sampled ids, logprobs), None: toy ids if the endpoint gives any."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str | Json]] = field(default_factory=list)
    finish_reason: str | None = None
    tokens: tuple[list[int], list[int], list[Any]] | None = None


@dataclass
class Fault:
    """A failure. ``drop``: close the connection before the answer ("start") or within it ("middle"). ``headers``:
    further ones."""

    status: int = 500
    body: str | Json = "internal server error"
    retry_after: str | None = None
    drop: Literal["start", "middle"] | None = None
    headers: dict[str, str] = field(default_factory=dict)


Script = Callable[[Call], "str | Say | Fault | Json"]


def echo(call: Call) -> str:
    """The default script: repeat the question."""
    return call.question


def add_numbers(call: Call) -> Say:
    """Calls the tool ``add`` with the two integers of the question, then says what it answered."""
    if call.outputs:
        return Say(f"The answer is {call.outputs[-1]}.")
    a, b = (int(number) for number in re.findall(r"-?\d+", call.question)[:2])
    return Say(reasoning="I should add.", calls=[("add", {"a": a, "b": b})])


class Endpoint:
    """The server. ``latency``: seconds per answer, or a function of the call. ``dialects``: routes that exist.

    ``owned_by`` is what ``GET /models`` says. Seen afterwards: ``calls`` (every POST), ``peak`` (most POSTs
    in flight at once), ``connections`` (distinct client ports).
    """

    def __init__(
        self,
        script: Script = echo,
        *,
        latency: float | Callable[[Call], float] = 0.0,
        dialects: tuple[str, ...] = ("chat", "responses"),
        tokens: Literal["none", "vllm", "nemo_rl", "named"] = "none",
        owned_by: str = "test",
        port: int = 0,
    ) -> None:
        self.script, self.latency, self.dialects, self.tokens, self.owned_by = (
            script,
            latency,
            dialects,
            tokens,
            owned_by,
        )
        self.port = port
        self.calls: list[Call] = []
        self.in_flight = self.peak = 0
        self.connections: set[int] = set()

    @property
    def base_url(self) -> str:
        """What goes into ``model.base_url``."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/{path:.*}", self._post)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=4096)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        if self.owned_by == "nobody":
            return web.json_response({"detail": "Not Found"}, status=404)
        return web.json_response({"object": "list", "data": [{"id": "m", "owned_by": self.owned_by}]})

    async def _post(self, request: web.Request) -> web.StreamResponse:
        call = Call(len(self.calls), request.path.removeprefix("/v1"), await request.json(), dict(request.headers))
        self.calls.append(call)
        if request.transport is not None:
            self.connections.add(request.transport.get_extra_info("peername")[1])
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await asyncio.sleep(self.latency(call) if callable(self.latency) else self.latency)
            return await self._answer(request, call)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request, call: Call) -> web.StreamResponse:
        kinds = {"/chat/completions": "chat", "/responses": "responses"}
        if call.route in kinds and kinds[call.route] not in self.dialects:
            return web.json_response({"detail": "Not Found"}, status=404)
        if call.route == "/tokenize" and self.tokens == "named":
            return web.json_response({"tokens": [*toy_ids(call.items), ROLES["assistant"]]})
        said = self.script(call)
        if isinstance(said, Fault):
            return await _fail(request, said)
        if isinstance(said, str):
            said = Say(said)
        if isinstance(said, Say):
            said = self._chat(call, said) if call.route == "/chat/completions" else _response(call, said)
        # `json`, not orjson: a NaN among logprobs is written as Python servers write it.
        return web.Response(text=json.dumps(said), content_type="application/json")

    def _chat(self, call: Call, said: Say) -> Json:
        message: Json = {"role": "assistant", "content": said.text or None}
        if said.reasoning:
            message["reasoning_content"] = said.reasoning
        if said.calls:
            message["tool_calls"] = [
                {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
                for call_id, name, arguments in _calls(call, said)
            ]
        reason = said.finish_reason or ("tool_calls" if said.calls else "stop")
        choice: Json = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        prompt, sampled, logprobs = said.tokens or _toy_turn(call, message)
        reply = {"id": f"chatcmpl-{call.number}", "object": "chat.completion", "model": call.body.get("model")}
        reply |= {"choices": [choice], "usage": _usage("prompt", "completion", prompt, sampled)}
        if self.tokens == "nemo_rl":
            message |= {"prompt_token_ids": prompt, "generation_token_ids": sampled, "generation_log_probs": logprobs}
        if self.tokens == "vllm" and call.body.get("return_token_ids"):
            reply["prompt_token_ids"], choice["token_ids"] = prompt, sampled
            choice["logprobs"] = {
                "content": [{"token": str(i), "logprob": p} for i, p in zip(sampled, logprobs, strict=False)]
            }
        if self.tokens == "named" and call.body.get("return_tokens_as_token_ids"):
            pairs = zip(sampled, logprobs, strict=True)
            choice["logprobs"] = {"content": [{"token": f"token_id:{i}", "logprob": p} for i, p in pairs]}
        return reply


def toy_ids(messages: list[Json]) -> list[int]:
    """Ids of a chat conversation: role, bytes of the text and of the tool calls, end; per message."""
    ids: list[int] = []
    for message in messages:
        ids += [ROLES[message["role"]], *_said_ids(message)]
    return ids


def _said_ids(message: Json) -> list[int]:
    text = message.get("reasoning_content", "") + _text(message.get("content"))
    for call in message.get("tool_calls") or ():
        text += call["function"]["name"] + call["function"]["arguments"]
    return [*text.encode("utf-8", "surrogatepass"), END]


def _toy_turn(call: Call, message: Json) -> tuple[list[int], list[int], list[Any]]:
    sampled = _said_ids(message)
    prompt = [*toy_ids(call.items), ROLES["assistant"]] if "messages" in call.body else []
    return prompt, sampled, [-0.5] * len(sampled)


def _response(call: Call, said: Say) -> Json:
    output: list[Json] = []
    if said.reasoning:
        summary = [{"type": "summary_text", "text": said.reasoning}]
        output.append({"type": "reasoning", "id": f"rs_{call.number}", "summary": summary})
    if said.text or not said.calls:
        content = [{"type": "output_text", "text": said.text, "annotations": []}]
        message = {"type": "message", "role": "assistant", "status": "completed", "content": content}
        output.append({**message, "id": f"msg_{call.number}"})
    for call_id, name, arguments in _calls(call, said):
        function = {"type": "function_call", "id": call_id, "call_id": call_id, "name": name, "arguments": arguments}
        output.append({**function, "status": "completed"})
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(said.finish_reason or "")
    status = {"status": "incomplete", "incomplete_details": {"reason": cut}} if cut else {"status": "completed"}
    usage = _usage("input", "output", [], [*said.text.encode()])
    return {
        "id": f"resp_{call.number}",
        "object": "response",
        "error": None,
        **status,
        "output": output,
        "usage": usage,
    }


def _calls(call: Call, said: Say) -> list[tuple[str, str, str]]:
    return [
        (f"call_{call.number}_{position}", name, arguments if isinstance(arguments, str) else json.dumps(arguments))
        for position, (name, arguments) in enumerate(said.calls)
    ]


def _usage(given: str, made: str, prompt: list[int], sampled: list[int]) -> Json:
    return {
        f"{given}_tokens": len(prompt),
        f"{made}_tokens": len(sampled),
        f"{given}_tokens_details": {"cached_tokens": len(prompt) // 2},
        f"{made}_tokens_details": None,
    }


async def _fail(request: web.Request, fault: Fault) -> web.StreamResponse:
    transport = request.transport
    assert transport is not None
    if fault.drop == "middle":
        response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"choices": [')
    if fault.drop:
        transport.abort()
        return web.Response()
    headers = dict(fault.headers)
    if fault.retry_after is not None:
        headers["Retry-After"] = fault.retry_after
    text = fault.body if isinstance(fault.body, str) else json.dumps(fault.body)
    return web.Response(status=fault.status, text=text, headers=headers)


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text", "") for part in content)


class EndpointProcess:
    """The endpoint in a process of its own; a context manager that gives its base URL.

    ``script``: ``package.module:function``, by name because it runs there (default:
    :func:`echo`). Further keywords: ``latency``, ``tokens``, ``port``.
    """

    def __init__(self, script: str | None = None, **options: object) -> None:
        self._options = {"script": script, **options}

    def __enter__(self) -> str:
        port_file = Path(tempfile.mkdtemp(prefix="endpoint")) / "port"
        # Not `-m`: a script's `Say` must be the class that this module knows, not a second copy of it.
        command = [sys.executable, "-c", f"from {__name__} import main; main()", "--port-file", str(port_file)]
        for name, value in self._options.items():
            if value is not None:
                command += [f"--{name}", str(value)]
        self.process = subprocess.Popen(command, cwd=Path(__file__).parent.parent.parent)
        for _ in range(500):
            if port_file.exists() or self.process.poll() is not None:
                break
            time.sleep(0.02)
        return f"http://127.0.0.1:{int(port_file.read_text())}/v1"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()


def _load(spec: str) -> Script:
    module, _, name = spec.partition(":")
    script: Script = getattr(importlib.import_module(module), name)
    return script


async def _serve(options: argparse.Namespace) -> None:
    script = _load(options.script) if options.script else echo
    endpoint = Endpoint(script, latency=options.latency, tokens=options.tokens, port=options.port)
    if options.tokens == "vllm":
        endpoint.owned_by = "vllm"
    async with endpoint:
        if options.port_file:
            fresh = options.port_file.with_suffix(".new")
            fresh.write_text(str(endpoint.port))
            fresh.rename(options.port_file)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port-file", type=Path, help="the port is written here once it listens")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", help="package.module:function")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--tokens", choices=("none", "vllm", "nemo_rl", "named"), default="none")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    from tests.support.endpoint import main as imported_main

    imported_main()
