"""A model that answers turns: renderer, engine and parser put together.

One turn: items -> prompt ids (extending the ids of the previous turn) -> sampled ids -> items. The reply
carries only what is new (``suffix``, ``sampled``); ``kept`` says how many ids of the caller's prefix stand
in front of it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from typing import Any

from gym_ray.models.chat import chat_params, extra_fields
from gym_ray.models.config import ModelConfig
from gym_ray.models.serve.certain import Detokenizer
from gym_ray.models.serve.engine import Engine, Generation, Piece, Turn
from gym_ray.models.serve.live import Live
from gym_ray.models.serve.parse import OutputParser
from gym_ray.models.serve.render import Renderer
from gym_ray.models.serve.sampling import rejected, sampling_fields
from gym_ray.types.errors import FailureKind, RolloutError, Stage, describe
from gym_ray.types.items import Item
from gym_ray.types.trajectory import FinishReason

Reply = dict[str, Any]


@dataclass(slots=True)
class _Call:
    """A turn made ready for the engine. ``body``: in Chat Completions form. ``room``: tokens that fit the window."""

    request_id: str
    body: dict[str, Any]
    prompt: list[int]
    kept: int
    room: int
    sampling: dict[str, Any]


class Policy:
    """A :class:`~gym_ray.models.serve.engine.Responder` over an :class:`~gym_ray.models.serve.engine.Engine`."""

    def __init__(self, engine: Engine, config: ModelConfig) -> None:
        self._engine, self._config = engine, config
        self.live = engine if isinstance(engine, Live) else None
        self._number = count()

    async def start(self) -> None:
        """Start the engine, then what needs its tokenizer."""
        await self._engine.start()
        serve, tokenizer, stop_ids = self._config.serve, self._engine.tokenizer, self._engine.stop_ids
        self._renderer = Renderer(
            tokenizer,
            stop_ids,
            serve.chat_template,
            serve.chat_template_kwargs,
            keep_reasoning=self._config.keep_reasoning,
        )
        self._parser = OutputParser(tokenizer, stop_ids, serve)

    @property
    def kv_used(self) -> float | None:
        """Used part of the engine's key-value cache, 0 to 1; None where the engine does not say."""
        return getattr(self._engine, "kv_used", None)

    async def health(self) -> None:
        """Raise once the engine is dead."""
        await self._engine.health()

    async def stop(self) -> None:
        """Stop the engine."""
        await self._engine.stop()

    async def respond(self, turn: Turn) -> Reply:
        """Answer one turn; see :class:`~gym_ray.models.serve.engine.Responder`."""
        call = self._call(turn)
        if call.room < 1:
            return _window_full(len(call.prompt))
        try:
            generation = await self._engine.generate(call.prompt, call.sampling, call.request_id)
        except ValueError as error:
            raise rejected(describe(error)) from error
        return self._reply(call, generation)

    async def stream(self, turn: Turn) -> AsyncGenerator[Piece, None]:
        """Answer one turn piece by piece; the last one is the reply of :meth:`respond`."""
        call = self._call(turn)
        if call.room < 1:
            yield Piece(reply=_window_full(len(call.prompt)))
            return
        stop = call.sampling.get("stop") or []
        certain = self._parser.certain(call.body, [stop] if isinstance(stop, str) else stop)
        text, prompt, whole = Detokenizer(self._engine.tokenizer), call.prompt, Generation([], [], stopped=False)
        try:
            async with aclosing(self._engine.stream(call.prompt, call.sampling, call.request_id)) as parts:
                async for part in parts:
                    said = certain.feed(text.feed(part.ids))
                    yield Piece(said, part.ids, part.logprobs, part.top, None if whole.ids else prompt)
                    whole.extend(part)
        except ValueError as error:
            raise rejected(describe(error)) from error
        yield Piece(reply=self._reply(call, whole))

    def _call(self, turn: Turn) -> _Call:
        try:
            body = {**chat_params(turn["params"]), **extra_fields(turn["params"], {})}
            prefix, covered = turn.get("prefix"), turn.get("covered", 0)
            prompt, kept = self._renderer.prompt(turn["items"], body, prefix, covered, turn.get("session"))
            room = self._engine.max_len - len(prompt)
            sampling = self._parser.enforced(body, sampling_fields(body, room))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise rejected(f"malformed request: {describe(error)}") from error
        return _Call(f"{turn.get('session')}#{next(self._number)}", body, prompt, kept, room, sampling)

    def token_texts(self, ids: list[int]) -> list[str]:
        """The text of each id by itself."""
        return [self._engine.tokenizer.decode([token]) for token in ids]

    def _reply(self, call: _Call, generation: Generation) -> Reply:
        _check(generation)
        items = self._parser.items(generation, call.body)
        prompt, kept, filled = call.prompt, call.kept, call.sampling["max_tokens"] == call.room
        top = {"top": generation.top} if generation.top else {}
        return {
            "items": items,
            "finish_reason": _finish_reason(items, filled, generation),
            "usage": {
                "prompt_tokens": len(prompt),
                "completion_tokens": len(generation.ids),
                "cached_tokens": generation.cached,
                "reasoning_tokens": self._parser.reasoning_tokens(generation.ids),
            },
            "tokens": {
                "kept": kept,
                "suffix": prompt[kept:],
                "sampled": generation.ids,
                "logprobs": generation.logprobs,
                "version": generation.version,
                **top,
            },
        }


def _finish_reason(items: list[Item], filled: bool, generation: Generation) -> FinishReason:
    if not generation.stopped:
        return FinishReason.CONTEXT_WINDOW if filled else FinishReason.LENGTH
    calls = any(item["type"] == "function_call" for item in items)
    return FinishReason.TOOL_CALLS if calls else FinishReason.STOP


def _window_full(prompt_tokens: int) -> Reply:
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0}
    return {"items": [], "finish_reason": FinishReason.CONTEXT_WINDOW, "usage": usage, "tokens": None}


def _check(generation: Generation) -> None:
    """Refuse what nobody can train on. A fresh attempt may fare better, so neither is terminal."""
    if not generation.ids:
        reason = "the engine sampled no token"
        raise RolloutError(FailureKind.EMPTY_GENERATION, Stage.MODEL, reason, terminal=False)
    total = sum(generation.logprobs)
    if total != total:
        reason = "a sampled token's logprob is NaN"
        raise RolloutError(FailureKind.NAN_LOGPROB, Stage.MODEL, reason, terminal=False)
