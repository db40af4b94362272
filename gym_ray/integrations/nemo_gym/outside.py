"""What a hosted server reaches for outside itself, and what it did not get.

Every call of one NeMo Gym server to another ends in one object, the shared aiohttp client of
``nemo_gym.server_utils``. :class:`Exchange` takes its place: calls to a model server that the user bound to one
of our models are answered by it, all others by 503. It never raises, because NeMo Gym retries exceptions of this
client for ever.

A server that could not reach its judge, sandbox or program often scores 0 all the same. So whatever fails here is
noted for the session at work (:func:`watched`), and a zero reward of a session with notes is no verdict.
"""

from __future__ import annotations

import functools
import http.cookies
import inspect
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import orjson

from gym_ray.types.errors import describe

HOST_SUFFIX = ".inproc"
"""Each instance's host is its name with this suffix, so that a URL says whom it means."""
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
            return Reply(url, method, 503, {"error": f"no model is bound to {name}"})
        try:
            body = options.get("json") or orjson.loads(options.get("data") or b"{}")
            return Reply(url, method, 200, await call(_route(parts.path), body))
        except Exception as error:
            note(f"judge_failed: {name}: {describe(error)}")
            return Reply(url, method, 503, {"error": describe(error)})

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


def watch_programs() -> None:
    """Note every program that is not installed (``subprocess`` is below asyncio's too). Once per process."""
    _watch(subprocess.Popen, "__init__", (FileNotFoundError, PermissionError), "provider_unavailable: no program")


def watch_sandboxes() -> None:
    """Note every sandbox that could not be had. Once per process; NeMo Gym 0.5 and later have ``nemo_gym.sandbox``."""
    try:
        from nemo_gym import sandbox
    except ImportError:
        return
    for name in ("AsyncSandbox", "Sandbox"):
        for method in ("__init__", "start"):
            if hasattr(owner := getattr(sandbox, name, None), method):
                _watch(owner, method, (Exception,), "provider_unavailable: sandbox")


def watch_connections() -> None:
    """Note every connection that could not be made by the HTTP clients that servers bring along. Once per process."""
    import aiohttp
    import httpx
    import requests

    errors = (aiohttp.ClientConnectionError, httpx.TransportError, requests.ConnectionError)
    for owner, method in (
        (aiohttp.ClientSession, "_request"),
        (httpx.AsyncClient, "send"),
        (httpx.Client, "send"),
        (requests.Session, "send"),
    ):
        _watch(owner, method, errors, "provider_unavailable: no connection")


def _watch(owner: Any, name: str, errors: tuple[type[Exception], ...], what: str) -> None:
    inner = getattr(owner, name)
    if getattr(inner, "__gym_ray_watched__", False):
        return

    def noted(error: Exception) -> None:
        note(f"{what}: {describe(error)}")

    watcher = (
        _watch_coroutine(inner, errors, noted)
        if inspect.iscoroutinefunction(inner)
        else _watch_plain(inner, errors, noted)
    )
    watcher.__gym_ray_watched__ = True
    setattr(owner, name, watcher)


def _watch_plain(inner: Any, errors: tuple[type[Exception], ...], noted: Callable[[Exception], None]) -> Any:
    @functools.wraps(inner)
    def plain(*args: Any, **kwargs: Any) -> Any:
        try:
            return inner(*args, **kwargs)
        except errors as error:
            noted(error)
            raise

    return plain


def _watch_coroutine(inner: Any, errors: tuple[type[Exception], ...], noted: Callable[[Exception], None]) -> Any:
    @functools.wraps(inner)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        try:
            return await inner(*args, **kwargs)
        except errors as error:
            noted(error)
            raise

    return coroutine


def _route(path: str) -> str:
    """``/v1/...`` without the prefix that NeMo Gym may put in front to correlate calls."""
    return path[path.find("/v1/") :] if "/v1/" in path else path
