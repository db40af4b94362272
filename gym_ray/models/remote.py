"""A client for any OpenAI-compatible endpoint, over Responses or Chat Completions.

Which dialect, and whether exact token ids are asked for, is settled once, before the first call
(:class:`Style`). ``token_ids: auto`` reads ``/models``: a server that says ``owned_by: vllm`` is asked as
vLLM wants, no other sees an unusual field. Exact ids come over Chat Completions only, so ``dialect: auto``
means that where they are asked for; elsewhere it tries ``/responses`` and leaves it for good on a 404 or 405.

A prompt beyond the context window is a reply, no error. A prompt that fits but leaves less room than
``max_output_tokens`` (older servers refuse that) is sent once more, asking for the room there is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gym_ray.models.addresses import Address, Addresses, environment_proxy
from gym_ray.models.caller import Caller
from gym_ray.models.chat import chat_messages, chat_params, extra_fields
from gym_ray.models.config import ModelConfig
from gym_ray.models.exact import ASK_NEMO_RL, ASK_VLLM, carry, tokenize_body
from gym_ray.models.failure import CallFailure
from gym_ray.models.http import Answer, Transport, decode, encode, error_message, status_failure
from gym_ray.models.limiter import AdaptiveLimit, FixedLimit, Gate
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.models.reply import chat_reply, context_window, responses_reply
from gym_ray.models.retry import RetryPolicy
from gym_ray.types.errors import FailureKind, RolloutError, Stage, UserError, describe

log = logging.getLogger(__name__)
Json = dict[str, Any]

CHAT, RESPONSES, MODELS = "/chat/completions", "/responses", "/models"
TOKENIZE = "/../tokenize"
"""Beside ``/v1``, not below it."""

_OVERFLOW = re.compile(
    r"(?i)context[_ ]length|context window|context size|prompt (is )?too long|input is too long"
    r"|longer than the maximum model length|exceeds the maximum number of tokens|max_tokens=.*max_model_len="
)
_NO_SUCH_MODEL = re.compile(r"(?i)model_not_found|model\b.*\b(not found|not exist)")
_ROOM = re.compile(
    r"maximum context length is (?P<whole>\d+) tokens.*?"
    r"(?:your request has (?P<used>\d+) input tokens|\((?P<messages>\d+) in the messages)"
    r"|max_tokens=\d+ cannot be greater than max_model_len=(?P<limit>\d+)"
)


@dataclass(frozen=True, slots=True)
class Style:
    """How the endpoint is spoken to. ``ask``: fields that ask for exact ids. ``carry``: send them back.

    ``demanded``: the settings insist on ids, so a reply without them is an error. ``tentative``: a 404 means
    that the endpoint has no such route.
    """

    route: str
    ask: Mapping[str, Any]
    carry: bool = False
    demanded: bool = False
    tentative: bool = False


class _NoSuchRoute(CallFailure):
    """``/responses`` does not exist there."""


class _AnswerTooLong(CallFailure):
    """The prompt leaves ``room`` tokens, fewer than were asked for."""

    room = 0


def make_gate(config: ModelConfig, start: int | None = None) -> Gate:
    """The gate that settings ask for: a fixed one, or an adaptive one that begins at ``start``."""
    if config.max_concurrency is not None:
        return Gate(FixedLimit(config.max_concurrency))
    return Gate(AdaptiveLimit() if start is None else AdaptiveLimit(start))


def api_key(config: ModelConfig) -> str | None:
    """The API key, from the environment variable that the settings name.

    Raises:
        UserError: the variable is not set.
    """
    return secret_of("model.api_key_env", config.api_key_env)


def secret_of(setting: str, variable: str | None) -> str | None:
    """The value of the environment variable that ``setting`` names; None when it names none.

    Raises:
        UserError: the variable is not set.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(f"{setting}: the environment variable {variable} is not set")
    return key


class RemoteModel:
    """See :class:`gym_ray.models.protocol.Model`.

    Raises:
        UserError: on construction, for settings that cannot work.
    """

    def __init__(self, config: ModelConfig) -> None:
        bases = [config.base_url] if isinstance(config.base_url, str) else list(config.base_url or ())
        if not bases:
            raise UserError("model.base_url is not set: it is the endpoint's address, like http://host:port/v1")
        key = api_key(config)
        self.name = config.name
        self._config = config
        self._transport = Transport(
            {**config.headers, **({"Authorization": f"Bearer {key}"} if key else {})}, config.connect_timeout_s
        )
        self._caller = Caller(
            self._transport,
            Addresses([Address(base, environment_proxy(base)) for base in bases]),
            make_gate(config),
            RetryPolicy.of(config.retry),
            config.timeout_s,
        )
        self._extra = dict(config.extra_body)
        self._style = _known_style(config)
        self._learning: asyncio.Task[Style] | None = None

    async def respond(self, request: ModelRequest) -> ModelReply:
        """See :class:`Model`."""
        style = self._style or await self._learn(request.session)
        try:
            return await self._ask(style, request)
        except _NoSuchRoute:
            return await self._ask(self._leave_responses(style), request)

    async def _ask(self, style: Style, request: ModelRequest) -> ModelReply:
        try:
            body = self._chat_body(style, request) if style.route == CHAT else self._responses_body(style, request)
        except (KeyError, TypeError, AttributeError) as error:
            reason = f"the request does not have the API's shape: {describe(error)}"
            raise RolloutError(FailureKind.BAD_TASK, Stage.MODEL, reason) from None
        try:
            return await self._send(style, request, body)
        except _AnswerTooLong as refusal:
            body["max_tokens" if style.route == CHAT else "max_output_tokens"] = refusal.room
        try:
            return await self._send(style, request, body)
        except _AnswerTooLong:
            return context_window()

    async def _send(self, style: Style, request: ModelRequest, body: Json) -> ModelReply:
        def read(answer: Answer, address: Address) -> ModelReply:
            return self._read(style, answer, address)

        reply = await self._caller.call(request.session, style.route, encode(body), read)
        if reply.tokens is not None and not reply.tokens.prompt:
            await self._complete(reply, style, request, body)
        return reply

    async def _complete(self, reply: ModelReply, style: Style, request: ModelRequest, body: Json) -> None:
        """Put in the prompt's ids, which the reply did not tell; without them there are no exact tokens."""
        assert reply.tokens is not None

        def read(answer: Answer, address: Address) -> list[int]:
            if answer.status == 429 or answer.status >= 500:
                raise status_failure(answer, address.shown + TOKENIZE, self._transport.scrub)
            ids = decode(answer.body).get("tokens") if answer.status == 200 else None
            if not ids and style.demanded:
                raise self._no_ids(address)
            return ids or []

        asked = encode(tokenize_body(body, request.last_turn if style.carry else None))
        reply.tokens.prompt = await self._caller.call(request.session, TOKENIZE, asked, read)
        if not reply.tokens.prompt:
            reply.tokens = None

    def _chat_body(self, style: Style, request: ModelRequest) -> Json:
        if style.carry and request.last_turn is not None:
            # Converted apart, so that what came after never joins the message that bears the tokens.
            messages = chat_messages(request.items[: request.covered])
            if messages[-1]["role"] == "assistant":
                carry(request.last_turn, messages[-1])
            messages += chat_messages(request.items[request.covered :])
        else:
            messages = chat_messages(request.items)
        body = {
            "model": self.name,
            **extra_fields(request.params, self._extra),
            **chat_params(request.params),
            **style.ask,
            "messages": messages,
        }
        if style.carry:
            # NeMo-RL compares both with its own settings and takes no default.
            body.setdefault("temperature", 1.0)
            body.setdefault("top_p", 1.0)
        return body

    def _responses_body(self, style: Style, request: ModelRequest) -> Json:
        items = request.items
        if style.carry and request.last_turn is not None:
            items = list(items)
            bearer = items[request.covered - 1] = dict(items[request.covered - 1])
            carry(request.last_turn, bearer)
        params = {key: value for key, value in request.params.items() if value is not None and key != "stream"}
        extra = extra_fields(params, self._extra)
        if "metadata" in params:
            kept = {key: value for key, value in params.pop("metadata").items() if key not in _IN_METADATA}
            params |= {"metadata": kept} if kept else {}
        return {"model": self.name, **extra, **params, "input": items}

    def _read(self, style: Style, answer: Answer, address: Address) -> ModelReply:
        if not 200 <= answer.status < 300:
            return self._refused(style, answer, address)
        data = decode(answer.body)
        if data.get("error") and "choices" not in data and "output" not in data:
            # Gateways may wrap another server's error in a 200.
            code = data["error"].get("code") if isinstance(data["error"], dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else 502
            return self._refused(style, Answer(status, answer.body, answer.retry_after), address)
        chat = style.route == CHAT
        reply = chat_reply(data, split_think=self._config.split_think) if chat else responses_reply(data)
        if style.demanded and reply.tokens is None and reply.items:
            raise self._no_ids(address)
        return reply

    def _no_ids(self, address: Address) -> RolloutError:
        reason = f"{address.shown} gave no exact token ids, which model.token_ids={self._config.token_ids} asks for"
        return RolloutError(FailureKind.MODEL_INVALID_RESPONSE, Stage.MODEL, reason)

    def _refused(self, style: Style, answer: Answer, address: Address) -> ModelReply:
        message = error_message(answer.body)
        if answer.status in (400, 413, 422) and _OVERFLOW.search(message):
            room = room_left(message)
            if room > 0:
                failure = _AnswerTooLong(FailureKind.MODEL_REJECTED_REQUEST, "", retry=False)
                failure.room = room
                raise failure
            return context_window()
        if style.tentative and answer.status in (404, 405) and not _NO_SUCH_MODEL.search(message):
            raise _NoSuchRoute(FailureKind.MODEL_REJECTED_REQUEST, "", retry=False)
        raise status_failure(answer, address.shown + style.route, self._transport.scrub)

    async def _learn(self, session: str) -> Style:
        """What the endpoint is. All calls that need to know share one question and its outcome."""
        if self._learning is None:
            self._learning = asyncio.get_running_loop().create_task(self._find_out(session))
            self._learning.add_done_callback(self._learned)
        return await asyncio.shield(self._learning)

    def _learned(self, task: asyncio.Task[Style]) -> None:
        self._learning = None
        if not task.cancelled() and task.exception() is None:
            self._style = task.result()

    async def _find_out(self, session: str) -> Style:
        vllm = await self._caller.call(session, MODELS, None, self._is_vllm)
        style = _style(self._config, ASK_VLLM if vllm else {})
        log.info("model %s: %s, exact token ids: %s", self.name, style.route, "yes" if vllm else "no")
        return style

    def _is_vllm(self, answer: Answer, address: Address) -> bool:
        if answer.status == 429 or answer.status >= 500:
            raise status_failure(answer, address.shown + MODELS, self._transport.scrub)
        try:
            models = decode(answer.body).get("data") if answer.status == 200 else None
        except CallFailure:
            return False
        return isinstance(models, list) and any(
            isinstance(model, dict) and model.get("owned_by") == "vllm" for model in models
        )

    def _leave_responses(self, tried: Style) -> Style:
        if self._style is tried:
            log.info("model %s: no %s there, using %s from now on", self.name, RESPONSES, CHAT)
            self._style = Style(CHAT, tried.ask)
        assert self._style is not None
        return self._style

    async def close(self) -> None:
        """See :class:`Model`."""
        if self._learning is not None:
            self._learning.cancel()
        await self._transport.close()


_IN_METADATA = ("extra_body", "chat_template_kwargs")


def _known_style(config: ModelConfig) -> Style | None:
    """The style, where settings alone decide it."""
    if config.token_ids == "auto":
        # Over Responses stock servers give no ids: nothing to find out.
        return _style(config, {}) if config.dialect == "responses" else None
    asks: dict[str, Json] = {"off": {}, "vllm": ASK_VLLM, "nemo_rl": ASK_NEMO_RL}
    return _style(config, asks[config.token_ids])


def _style(config: ModelConfig, ask: Json) -> Style:
    demanded = config.token_ids in ("vllm", "nemo_rl")
    carries = config.token_ids == "nemo_rl"
    if config.dialect == "responses":
        return Style(RESPONSES, {}, carries, demanded)
    if config.dialect == "chat" or ask:
        return Style(CHAT, ask, carries, demanded)
    return Style(RESPONSES, {}, tentative=True)


def room_left(message: str) -> int:
    """Tokens that still fit after the prompt, by a server's message that too many were asked for; else 0.

    Read are OpenAI's ("maximum context length is 4096 tokens. However, you requested 5000 tokens (100 in the
    messages, ..."), older vLLM's ("... is 4096 tokens and your request has 100 input tokens"), and newer
    vLLM's ("max_tokens=5000 cannot be greater than max_model_len=4096"), which cuts to the room by itself.
    """
    found = _ROOM.search(message)
    if found is None:
        return 0
    if found["limit"]:
        return int(found["limit"])
    return max(0, int(found["whole"]) - int(found["used"] or found["messages"]))
