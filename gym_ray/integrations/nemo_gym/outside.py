"""What a hosted server reaches for outside itself, and what it did not get.

Every call of one NeMo Gym server to another ends in one object, the shared aiohttp client of
``nemo_gym.server_utils``. :class:`Exchange` takes its place: calls to a model server that the user bound to one
of our models are answered by it, all others by 424 (Failed Dependency). It never raises, because NeMo Gym retries
exceptions of this client for ever, and never answers 5xx, because some servers retry those: the judge's own budget of
retries is spent by then. Few servers ask a model by a client of their own; :func:`route_clients` leads those here too.

A server that could not reach its judge, sandbox or program often scores 0 all the same. So whatever fails here is
noted for the session at work (:func:`watched`), and a zero reward of a session with notes is no verdict.
"""

from __future__ import annotations

import http.cookies
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import orjson

from gym_ray.types.errors import describe

HOST_SUFFIX = ".inproc"
"""Each instance's host is its name with this suffix, so that a URL says whom it means."""
UNAVAILABLE = 424
ModelCall = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""``(route, request) -> response``; routes are ``/v1/responses`` and ``/v1/chat/completions``."""

_notes: ContextVar[list[str] | None] = ContextVar("nemo_gym_notes", default=None)


@contextmanager
def watched(notes: list[str]) -> Iterator[None]:
    """Collect in ``notes`` what fails outside while the block runs, in tasks and threads it starts too."""
    token = _notes.set(notes)
    try:
        yield
    finally:
        _notes.reset(token)


def note(trouble: str) -> None:
    """Something outside failed."""
    notes = _notes.get()
    if notes is not None and trouble not in notes:
        notes.append(trouble)


class Exchange:
    """Stands in for the aiohttp session. ``models``: model server name -> how it is called."""

    def __init__(self, models: Mapping[str, ModelCall]) -> None:
        self._models = models
        self.closed = False

    async def request(self, method: str, url: str, **options: Any) -> Reply:
        """Answer one request; never raises."""
        parts = urlsplit(str(url))
        name = (parts.hostname or "").removesuffix(HOST_SUFFIX)
        call = next((model for known, model in self._models.items() if known.lower() == name), None)
        if call is None:
            note(f"judge_failed: no model is bound to `{name}` (name a judge: `judges.{name}`)")
            return Reply(url, method, UNAVAILABLE, {"error": f"no model is bound to {name}"})
        try:
            body = options.get("json") or orjson.loads(options.get("data") or b"{}")
            return Reply(url, method, 200, await call(_route(parts.path), body))
        except Exception as error:
            note(f"judge_failed: {name}: {describe(error)}")
            return Reply(url, method, UNAVAILABLE, {"error": describe(error)})

    async def close(self) -> None:
        """Nothing is open."""
        self.closed = True


class Reply:
    """As much of ``aiohttp.ClientResponse`` as NeMo Gym's servers use."""

    def __init__(self, url: Any, method: str, status: int, body: Any) -> None:
        self.url, self.method, self.status, self._body = url, method, status, orjson.dumps(body)
        self.ok, self.reason, self.headers = status < 400, "", {"Content-Type": "application/json"}
        self.cookies, self.content, self.history = http.cookies.SimpleCookie(), self, ()

    async def read(self) -> bytes:
        """The body."""
        return self._body

    async def text(self) -> str:
        """The body as text."""
        return self._body.decode()

    async def json(self, **_: Any) -> Any:
        """The body, parsed."""
        return orjson.loads(self._body)

    def raise_for_status(self) -> None:
        """Raises ``aiohttp.ClientResponseError`` for a status of 400 and above."""
        if not self.ok:
            from aiohttp import ClientResponseError

            raise ClientResponseError(
                self.request_info, (), status=self.status, message=self._body[:300].decode(errors="replace")
            )

    @property
    def request_info(self) -> Any:
        """What was asked."""
        from aiohttp import RequestInfo
        from multidict import CIMultiDict, CIMultiDictProxy
        from yarl import URL

        url = URL(str(self.url))
        return RequestInfo(url, self.method, CIMultiDictProxy(CIMultiDict()), url)

    def release(self) -> None:
        """Nothing is held."""

    async def __aenter__(self) -> Reply:
        return self

    async def __aexit__(self, *_: Any) -> None:
        pass


def route_clients(exchange: Exchange) -> None:
    """Lead calls of other HTTP clients to an instance's address to ``exchange``. Once per process.

    ``httpx`` (the OpenAI SDK) asks models; ``requests`` only asks whether an instance is up: it is.
    """
    import httpx
    import requests

    ask, probe = httpx.AsyncClient.send, requests.Session.send

    async def answered(client: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        if not request.url.host.endswith(HOST_SUFFIX):
            return await ask(client, request, **options)
        reply = await exchange.request(request.method, str(request.url), data=await request.aread())
        return httpx.Response(reply.status, headers=reply.headers, content=await reply.read(), request=request)

    def alive(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        if not (urlsplit(request.url or "").hostname or "").endswith(HOST_SUFFIX):
            return probe(session, request, **options)
        response = requests.Response()
        response.status_code, response.request, response.url = 204, request, request.url or ""
        return response

    httpx.AsyncClient.send, requests.Session.send = answered, alive  # type: ignore[method-assign, assignment]


def _route(path: str) -> str:
    """``/v1/...`` without the prefix that NeMo Gym may put in front to correlate calls."""
    return path[path.find("/v1/") :] if "/v1/" in path else path
