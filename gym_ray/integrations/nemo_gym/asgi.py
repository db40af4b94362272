"""Calls of an ASGI application in this process: no port, no socket, one coroutine per call.

Source of the message shapes: the ASGI specification 3.0, HTTP and lifespan protocols.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

Message = dict[str, Any]


@dataclass(slots=True)
class Answer:
    """What the application answered. ``cookies``: those that it set, by name."""

    status: int = 500
    body: bytes = b""
    cookies: dict[str, str] = field(default_factory=dict)


async def call(app: Any, path: str, body: bytes, cookies: dict[str, str]) -> Answer:
    """``POST path`` with a JSON ``body``. Exceptions of the application come out as they are."""
    sent = False
    never = asyncio.Event()
    answer, chunks = Answer(), []

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await never.wait()  # nobody hangs up here; cancelling the call ends it
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            for name, value in message.get("headers", ()):
                if name.lower() == b"set-cookie":
                    answer.cookies |= _cookies(value.decode("latin-1"))
        elif message["type"] == "http.response.body":
            chunks.append(message.get("body", b""))

    await app(_scope(path, len(body), cookies), receive, send)
    answer.body = b"".join(chunks)
    return answer


class Lifespan:
    """The application's start-up and shutdown, as a server would run them."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises RuntimeError with the application's reason when it refuses to start."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self._step("startup")

    async def stop(self) -> None:
        """Run the shutdown hooks."""
        if self._task is not None and not self._task.done():
            await self._step("shutdown")
            await self._task

    async def _run(self) -> None:
        try:
            await self._app({"type": "lifespan", "asgi": {"version": "3.0"}}, self._inbox.get, self._outbox.put)
        except Exception as error:
            await self._outbox.put({"type": "failed", "message": repr(error)})

    async def _step(self, phase: str) -> None:
        await self._inbox.put({"type": f"lifespan.{phase}"})
        reply = await self._outbox.get()
        if reply["type"] != f"lifespan.{phase}.complete":
            lines = str(reply.get("message") or reply["type"]).strip().splitlines()
            raise RuntimeError(lines[-1])


def _scope(path: str, length: int, cookies: dict[str, str]) -> Message:
    headers = [
        (b"host", b"inproc"),
        (b"content-type", b"application/json"),
        (b"content-length", str(length).encode()),
    ]
    if cookies:
        headers.append((b"cookie", "; ".join(f"{name}={value}" for name, value in cookies.items()).encode("latin-1")))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 0),
        "server": ("inproc", 80),
        "state": {},
    }


def _cookies(header: str) -> dict[str, str]:
    return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
