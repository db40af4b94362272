"""One ASGI application behind both doors: Ray Serve's public HTTP face and each replica's own listener.

``POST /turn`` is the door for agents: one model call as JSON, nothing validated twice.

    {"params": {...}, "items": [...], "session": str, "covered": int, "prefix": [ids] | null}
    -> {"items": [...], "finish_reason": str, "usage": {...},
        "tokens": {"kept": int, "suffix": [ids], "sampled": [ids], "logprobs": [floats],
                   "version": int | [ints]} | null}

``POST /v1/responses``, ``POST /v1/chat/completions`` (both stream), ``GET /v1/models`` and ``GET /health`` are
what OpenAI clients expect. Every error is ``{"error": {"kind", "reason", "terminal", "message", "type",
"code"}}``. A door with keys lets in who shows one, and everybody to ``/health``; nothing of a request is read
before that. Whoever disconnects cancels their call, in the engine too.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any

import orjson

from gym_ray.models.serve.chat_face import ChatFace
from gym_ray.models.serve.engine import Responder, Turn
from gym_ray.models.serve.fields import token_ids
from gym_ray.models.serve.openai_api import TokenTexts, chat_turn, responses_turn, token_ids_as_text
from gym_ray.models.serve.responses_face import ResponsesFace
from gym_ray.models.serve.sampling import rejected
from gym_ray.models.serve.stream import answered, pieces, server_sent
from gym_ray.types.errors import FailureKind, RolloutError, Stage, describe

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Events = AsyncGenerator[bytes, None]
Handler = Callable[[bytes], Awaitable[Any]]
Headers = list[tuple[bytes, bytes]]

MAX_BODY = 64 << 20
"""Longest request, in bytes."""
STALLED_S = 600.0
"""A reader that takes nothing for so many seconds has left."""

log = logging.getLogger(__name__)
_JSON = (b"content-type", b"application/json")
_EVENTS: Headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
_OPEN_TO_ALL = "/health"


class Refusal(Exception):
    """An answer of HTTP itself: no such route, no key, too long."""

    def __init__(self, status: int, code: str, reason: str, headers: Headers | None = None) -> None:
        self.status, self.code, self.reason, self.headers = status, code, reason, headers or []
        super().__init__(reason)


class App:
    """Routes requests to a :class:`~gym_ray.models.serve.engine.Responder`."""

    def __init__(self, responder: Responder, model: str, keys: Iterable[str] = ()) -> None:
        """``keys``: bearer tokens, any of which opens this door; none: it is open."""
        self._responder, self._model = responder, model
        self.calls = 0
        """Requests in flight."""
        self._keys = [key.encode() for key in keys]
        self._token_texts: TokenTexts = getattr(responder, "token_texts", token_ids_as_text)
        self._routes: dict[str, dict[str, Handler]] = {
            "/turn": {"POST": self._turn},
            "/v1/responses": {"POST": self._responses},
            "/v1/chat/completions": {"POST": self._chat},
            "/v1/models": {"GET": self._models},
            f"/v1/models/{model}": {"GET": self._the_model},
            _OPEN_TO_ALL: {"GET": self._health},
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            return
        try:
            handler = self._handler(scope)
            body = await _read(receive)
        except Refusal as refusal:
            await _send(send, refusal.status, _refused(refusal), refusal.headers)
            return
        if body is None:
            return
        if scope["method"] == "HEAD":
            # Who sends no body of an answer knows best what length to tell.
            send = _without_body(send)
        await self._answer(handler, body, receive, send)

    def _handler(self, scope: dict[str, Any]) -> Handler:
        """Who answers this request, going by its head alone.

        Raises:
            Refusal: nobody does.
        """
        path, method, headers = scope["path"], scope["method"], scope["headers"]
        if self._keys and path != _OPEN_TO_ALL and not self._may_enter(headers):
            reason = "this server wants a key: `Authorization: Bearer KEY`"
            raise Refusal(401, "invalid_api_key", reason, [(b"www-authenticate", b"Bearer")])
        methods = self._routes.get(path)
        if methods is None:
            raise Refusal(404, "not_found", f"no route {method} {path}")
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"])
            status = 204 if method == "OPTIONS" else 405
            raise Refusal(status, "method_not_allowed", f"{path} takes {allowed}", [(b"allow", allowed.encode())])
        length = next((value for name, value in headers if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > MAX_BODY:
            raise _too_long()
        return handler

    def _may_enter(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        given = next((value for name, value in headers if name == b"authorization"), b"")
        scheme, _, key = given.partition(b" ")
        right = [hmac.compare_digest(key.strip(), one) for one in self._keys]
        return scheme.lower() == b"bearer" and any(right)

    async def _answer(self, handler: Handler, body: bytes, receive: Receive, send: Send) -> None:
        call = asyncio.current_task()
        gone = asyncio.ensure_future(receive())
        gone.add_done_callback(lambda done: None if done.cancelled() or call is None else call.cancel())
        self.calls += 1
        try:
            status, reply = 200, await handler(body)
            if isinstance(reply, AsyncGenerator):
                await _stream(send, reply, gone)
                return
        except asyncio.CancelledError:
            if gone.done():
                return  # the client left
            raise
        except RolloutError as error:
            status, reply = _status(error), _error(error)
        except Exception as error:
            log.exception("a request failed")
            failure = RolloutError(FailureKind.PROVIDER_UNAVAILABLE, Stage.MODEL, describe(error), terminal=False)
            status, reply = 503, _error(failure)
        finally:
            self.calls -= 1
            gone.cancel()
        await _send(send, status, reply)

    async def _turn(self, body: bytes) -> Any:
        turn = json_object(body)
        if turn.get("prefix"):
            token_ids(turn["prefix"], "prefix")
        reply = await self._responder.respond(turn)
        if reply["tokens"]:
            reply["tokens"].pop("top", None)
        return reply

    async def _responses(self, body: bytes) -> Any:
        return await self._face(json_object(body), responses_turn, ResponsesFace)

    async def _chat(self, body: bytes) -> Any:
        return await self._face(json_object(body), chat_turn, ChatFace)

    async def _face(
        self, request: Message, as_turn: Callable[[Message], Turn], make_face: Callable[..., ChatFace | ResponsesFace]
    ) -> Any:
        try:
            turn = as_turn(request)
        except (KeyError, TypeError, AttributeError) as error:
            raise rejected(f"malformed request: {describe(error)}") from None
        face = make_face(request, turn, self._model, self._token_texts)
        if request.get("stream"):
            return server_sent(face, pieces(self._responder, turn), _error)
        return face.whole(answered(await self._responder.respond(turn)))

    async def _models(self, body: bytes) -> Any:
        return {"object": "list", "data": [await self._the_model(body)]}

    async def _the_model(self, body: bytes) -> Any:
        return {"id": self._model, "object": "model", "created": 0, "owned_by": "gym_ray"}

    async def _health(self, body: bytes) -> Any:
        await self._responder.health()
        return {"status": "ok"}


def json_object(body: bytes) -> dict[str, Any]:
    """A request's body.

    Raises:
        RolloutError: it is something else.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise rejected(f"the body is no JSON: {error}") from None
    if not isinstance(request, dict):
        raise rejected("the body is no JSON object")
    return request


def _status(error: RolloutError) -> int:
    if error.kind == FailureKind.PROVIDER_UNAVAILABLE:
        return 503
    return 400 if error.terminal else 500


def _error(error: RolloutError) -> dict[str, Any]:
    """Ours (``kind``, ``reason``, ``terminal``) and OpenAI's fields in one object."""
    code = "context_length_exceeded" if error.kind == FailureKind.PROMPT_TOO_LONG else error.kind
    kind = "invalid_request_error" if error.terminal else "server_error"
    ours = {"kind": error.kind, "reason": error.reason, "terminal": error.terminal}
    return {"error": {**ours, "message": error.reason, "type": kind, "param": None, "code": code}}


def _refused(refusal: Refusal) -> dict[str, Any]:
    body = _error(rejected(refusal.reason))
    body["error"]["code"] = refusal.code
    return body


def _too_long() -> Refusal:
    return Refusal(413, "request_too_large", f"the body is longer than {MAX_BODY >> 20} MiB")


async def _read(receive: Receive) -> bytes | None:
    """The request's body; None when the client left before it was whole.

    Raises:
        Refusal: it is too long.
    """
    chunks, length = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        length += len(chunk)
        if length > MAX_BODY:
            raise _too_long()
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


async def _send(send: Send, status: int, reply: Any, more: Headers | None = None) -> None:
    body = b"" if status == 204 else orjson.dumps(reply)
    headers = [*([(b"content-length", b"%d" % len(body)), _JSON] if body else []), *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Send, events: Events, gone: asyncio.Future[Any]) -> None:
    """Send events as they come. ``gone``: done when the client has left; cancelled once it is served."""
    async with aclosing(events):
        chunk = await anext(events)  # what is refused before the first event is an ordinary error
        await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
        while chunk:
            async with asyncio.timeout(STALLED_S):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            chunk = await anext(events, b"")
    gone.cancel()
    await send({"type": "http.response.body", "body": b""})


def _without_body(send: Send) -> Send:
    async def headers_only(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return headers_only
