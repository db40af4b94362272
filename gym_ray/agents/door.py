"""Where the calls of agents elsewhere arrive: one listener for all rollouts of a process.

Each rollout has a path of its own below it, which nobody can guess: ``/KEY/v1/...`` is its model
(:class:`~gym_ray.models.serve.app.App` over its recorder), ``/KEY/tools/NAME`` a tool of its environment. The path is
the key, so that it does not matter what a client shows beside it; and it does not matter whether a client puts ``/v1``
at its end, or twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

import orjson

from gym_ray.agents.recorder import Recorder
from gym_ray.types.errors import RolloutError

Json = dict[str, Any]
MAX_ARGUMENTS_BYTES = 16 << 20


class Door:
    """Listens from the first :meth:`open` on, for as long as the process lives."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._opening = asyncio.Lock()
        self._base = ""
        self._rollouts: dict[str, tuple[Recorder, Any]] = {}

    async def open(self) -> str:
        """The base address."""
        from gym_ray.models.serve.listener import Listener

        async with self._opening:
            if not self._base:
                self._base = await Listener(self).open(self._host)
        return self._base

    @contextlib.contextmanager
    def serving(self, recorder: Recorder, model: str) -> Iterator[str]:
        """Answer for ``recorder`` for the time of the block; its key, which is also its path."""
        from gym_ray.agents.remembering import RememberingApp

        key = secrets.token_urlsafe(16)
        self._rollouts[key] = recorder, RememberingApp(recorder, model)
        try:
            yield key
        finally:
            del self._rollouts[key]

    async def __call__(self, scope: Json, receive: Any, send: Any) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            return
        key, *parts = [part for part in scope["path"].split("/") if part] or [""]
        found = self._rollouts.get(key)
        if found is None:
            await _send(send, 404, _error("this rollout is over, or never was"))
        elif parts[:1] == ["tools"]:
            await _send(send, *await _tool(found[0], "/".join(parts[1:]), receive))
        else:
            while parts[:1] == ["v1"]:
                del parts[0]
            await found[1]({**scope, "path": "/".join(["/v1", *parts])}, receive, send)


async def _tool(recorder: Recorder, name: str, receive: Any) -> tuple[int, Json]:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_ARGUMENTS_BYTES:
            return 413, _error(f"the arguments are longer than {MAX_ARGUMENTS_BYTES >> 20} MiB")
        if not message.get("more_body"):
            break
    try:
        arguments = orjson.loads(bytes(body) or b"{}")
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        return 400, _error("the arguments must be a JSON object")
    try:
        return 200, {"output": await recorder.call_tool(name, arguments)}
    except RolloutError as error:
        return 500, _error(error.reason)


def _error(reason: str) -> Json:
    return {"error": {"message": reason}}


async def _send(send: Any, status: int, body: Json) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(body)})
