"""One ASGI application behind both doors: Ray Serve's public HTTP face and each replica's own listener.

``POST /turn`` is the door for agents: one model call as JSON, nothing validated twice.

    {"params": {...}, "items": [...], "session": str, "covered": int, "prefix": [ids] | null}
    -> {"items": [...], "finish_reason": str, "usage": {...},
        "tokens": {"kept": int, "suffix": [ids], "sampled": [ids], "logprobs": [floats],
                   "version": int | [ints]} | null}

``POST /v1/responses``, ``POST /v1/chat/completions``, ``GET /v1/models`` and ``GET /health`` are what
OpenAI clients expect. Every error is ``{"error": {"kind", "reason", "terminal", "message", "type", "code"}}``.
Whoever disconnects cancels their call, in the engine too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from gym_ray.models.serve.engine import Responder
from gym_ray.models.serve.openai_api import (
    TokenTexts,
    chat_reply,
    chat_turn,
    responses_reply,
    responses_turn,
    token_ids_as_text,
)
from gym_ray.models.serve.sampling import rejected
from gym_ray.types.errors import FailureKind, RolloutError, Stage, describe

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[bytes], Awaitable[Any]]

log = logging.getLogger(__name__)
_JSON = (b"content-type", b"application/json")


class App:
    """Routes requests to a :class:`~gym_ray.models.serve.engine.Responder`."""

    def __init__(self, responder: Responder, model: str) -> None:
        self._responder, self._model = responder, model
        self._token_texts: TokenTexts = getattr(responder, "token_texts", token_ids_as_text)
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", "/turn"): self._turn,
            ("POST", "/v1/responses"): self._responses,
            ("POST", "/v1/chat/completions"): self._chat,
            ("GET", "/v1/models"): self._models,
            ("GET", "/health"): self._health,
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            return
        handler = self._routes.get((scope["method"], scope["path"]))
        body = await _read(receive)
        if handler is None:
            await _send(send, 404, _error(rejected(f"no route {scope['method']} {scope['path']}")))
        elif body is not None:
            await self._answer(handler, body, receive, send)

    async def _answer(self, handler: Handler, body: bytes, receive: Receive, send: Send) -> None:
        call = asyncio.current_task()
        gone = asyncio.ensure_future(receive())
        gone.add_done_callback(lambda done: None if done.cancelled() or call is None else call.cancel())
        try:
            status, reply = 200, await handler(body)
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
            gone.cancel()
        await _send(send, status, reply)

    async def _turn(self, body: bytes) -> Any:
        return await self._responder.respond(_parse(body))

    async def _responses(self, body: bytes) -> Any:
        request = _parse(body)
        turn = _checked(responses_turn, request)
        reply = await self._respond(turn)
        return responses_reply(request, turn, reply, self._model)

    async def _chat(self, body: bytes) -> Any:
        request = _parse(body)
        turn = _checked(chat_turn, request)
        reply = await self._respond(turn)
        return chat_reply(request, turn, reply, self._model, self._token_texts)

    async def _respond(self, turn: dict[str, Any]) -> dict[str, Any]:
        """The reply; a prompt beyond the window is an error here, as OpenAI clients expect."""
        reply = await self._responder.respond(turn)
        if not reply["items"]:
            used = reply["usage"]["prompt_tokens"]
            reason = f"the prompt of {used} tokens does not fit this model's maximum context length"
            raise RolloutError(FailureKind.PROMPT_TOO_LONG, Stage.MODEL, reason)
        return reply

    async def _models(self, body: bytes) -> Any:
        return {"object": "list", "data": [{"id": self._model, "object": "model", "created": 0, "owned_by": "gym_ray"}]}

    async def _health(self, body: bytes) -> Any:
        await self._responder.health()
        return {"status": "ok"}


def _parse(body: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise rejected(f"the body is no JSON: {error}") from None
    if not isinstance(request, dict):
        raise rejected("the body is no JSON object")
    return request


def _checked(convert: Callable[[dict[str, Any]], dict[str, Any]], request: dict[str, Any]) -> dict[str, Any]:
    try:
        return convert(request)
    except (KeyError, TypeError, AttributeError) as error:
        raise rejected(f"malformed request: {describe(error)}") from None


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


async def _read(receive: Receive) -> bytes | None:
    """The request's body; None when the client left before it was whole."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def _send(send: Send, status: int, reply: Any) -> None:
    body = orjson.dumps(reply)
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
