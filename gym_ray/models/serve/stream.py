"""Replies as they come: server-sent events, in the shape that a :class:`Face` gives them.

Invariants. The parts put together are the reply that an unstreamed call gets: text streams only once it is
certain (:mod:`.certain`), calls come whole at the end, ids and logprobs with the first event after they were
sampled. Nothing is sent before the engine's first token, so that refusals keep their HTTP status; a failure
after that is an event. One event list per piece of the engine is one write, and the next piece is not asked
for before that write is taken: a slow reader slows only its own stream.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

import orjson

from gym_ray.models.serve.engine import Piece, Responder, Turn
from gym_ray.models.serve.openai_api import Json
from gym_ray.types.errors import FailureKind, RolloutError, Stage, describe
from gym_ray.types.items import Item, item_text

log = logging.getLogger(__name__)


class Face(Protocol):
    """Makes events of pieces. One per call."""

    end: bytes
    """What closes the stream."""

    def events(self, piece: Piece) -> list[Json]:
        """The events that ``piece`` adds.

        Raises:
            RolloutError: what was streamed is not what the reply says.
        """
        ...

    def whole(self, reply: Json) -> Json:
        """The answer of an unstreamed call."""
        ...

    def failure(self, error: Json) -> Json:
        """The event of a failure; ``error``: its body in an unstreamed answer."""
        ...


async def pieces(responder: Responder, turn: Turn) -> AsyncGenerator[Piece, None]:
    """The reply in pieces; one, where the responder does not stream.

    Raises:
        RolloutError: also for a prompt beyond the window, as OpenAI clients expect.
    """
    stream = getattr(responder, "stream", None)
    if stream is None:
        yield Piece(reply=answered(await responder.respond(turn)))
        return
    async with aclosing(stream(turn)) as parts:
        async for piece in parts:
            if piece.reply is not None:
                answered(piece.reply)
            yield piece


def answered(reply: Json) -> Json:
    """``reply``, unless its prompt did not fit."""
    if not reply["items"]:
        used = reply["usage"]["prompt_tokens"]
        reason = f"the prompt of {used} tokens does not fit this model's maximum context length"
        raise RolloutError(FailureKind.PROMPT_TOO_LONG, Stage.MODEL, reason)
    return reply


async def server_sent(face: Face, parts: AsyncGenerator[Piece, None], error_body: Any) -> AsyncGenerator[bytes, None]:
    """The stream's bytes. ``error_body``: makes the body of an error.

    Raises:
        RolloutError: before the first event only.
    """
    begun = False
    try:
        async with aclosing(parts):
            async for piece in parts:
                events = face.events(piece)
                if events:
                    yield b"".join(map(_encode, events))
                    begun = True
    except RolloutError as error:
        if not begun:
            raise
        failure = error
    except Exception as error:
        if not begun:
            raise
        log.exception("a stream failed")
        failure = RolloutError(FailureKind.PROVIDER_UNAVAILABLE, Stage.MODEL, describe(error), terminal=False)
    else:
        if face.end:
            yield face.end
        return
    yield _encode(face.failure(error_body(failure)["error"])) + face.end


def _encode(event: Json) -> bytes:
    name = b"event: %s\n" % event["type"].encode() if "type" in event else b""
    return b"%sdata: %s\n\n" % (name, orjson.dumps(event))


class Told:
    """Text that has been streamed, by kind."""

    def __init__(self) -> None:
        self._said: dict[str, list[str]] = {"thought": [], "text": []}

    def add(self, kind: str, text: str) -> None:
        """``text`` is streamed."""
        self._said[kind].append(text)

    def rest(self, items: list[Item]) -> list[tuple[str, str]]:
        """What of the whole reply is still to be streamed.

        Raises:
            RolloutError: what was streamed does not begin it.
        """
        whole = {
            "thought": "".join(item_text(item) for item in items if item["type"] == "reasoning"),
            "text": "".join(item_text(item) for item in items if item["type"] == "message"),
        }
        told = {kind: "".join(said) for kind, said in self._said.items()}
        for kind, said in told.items():
            if not whole[kind].startswith(said) or (kind == "thought" and told["text"] and whole[kind] != said):
                reason = f"the parser took back {kind} that was streamed already; ask again without `stream`"
                raise RolloutError(FailureKind.MODEL_INVALID_RESPONSE, Stage.MODEL, reason, terminal=False)
        rest = [(kind, whole[kind][len(said) :]) for kind, said in told.items()]
        return [(kind, text) for kind, text in rest if text]
