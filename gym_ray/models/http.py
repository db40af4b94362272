"""Bytes over HTTP: one pooled client session, and what each way of failing means.

Invariants: every request has a deadline; nothing but :class:`CallFailure` leaves :meth:`Transport.send`;
no secret (API key, header value, password in an address) is in its text. Connections are not capped here,
because the gate caps calls: a pool smaller than the number of calls in flight would make them time out
waiting for each other.
"""

from __future__ import annotations

import asyncio
import errno
import json
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from gym_ray.models.addresses import Address
from gym_ray.models.failure import CallFailure, invalid_reply
from gym_ray.models.retry import parse_retry_after
from gym_ray.types.errors import FailureKind, RolloutError, Stage, describe
from gym_ray.types.trace import traceparent

KEEPALIVE_S = 60.0
_SOCKET_OPTIONS = {
    "SO_KEEPALIVE": 1,
    "TCP_KEEPIDLE": 20,
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 4,
    "TCP_USER_TIMEOUT": 60_000,
}
"""A host that vanished (no reset, no reply) is noticed within about a minute instead of at the deadline."""
_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})
_TOKENS = re.compile(r"(?i)\b(bearer\s+|(?:sk|nvapi|hf|key)[-_])[\w\-.*]{6,}|(?<=//)[^/\s@]+@")
_SHOWN = 500


@dataclass(slots=True)
class Answer:
    """What came back. ``retry_after``: the raw header. ``location``: where a redirect points, without its query."""

    status: int
    body: bytes
    retry_after: str | None
    location: str = ""


class Scrubber:
    """Removes secrets from text that a person will read."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted((secret for secret in secrets if len(secret) >= 6), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """``text`` in one line, without secrets, cut to ``_SHOWN`` characters."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = " ".join(_TOKENS.sub("***", text).split())
        return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _make_socket(where: aiohttp.AddrInfoType) -> socket.socket:
    made = socket.socket(*where[:3])
    for name, value in _SOCKET_OPTIONS.items():
        level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
        if hasattr(socket, name):  # not every system has all of them
            made.setsockopt(level, getattr(socket, name), value)
    return made


def _retry_after(headers: Mapping[str, str]) -> str | None:
    """``Retry-After``, or the finer ``Retry-After-Ms`` of OpenAI and Azure, in seconds."""
    finer = headers.get("Retry-After-Ms", "")
    return f"{finer}e-3" if finer.isdecimal() else headers.get("Retry-After")


class Transport:
    """Sends JSON bytes. The pool is made by the first call, in the event loop that uses it.

    ``headers`` go with every request; their values count as secrets.
    """

    def __init__(self, headers: Mapping[str, str], connect_timeout_s: float) -> None:
        self.scrub = Scrubber(part for value in headers.values() for part in (value, value.rpartition(" ")[2]))
        # Answers are small beside the work of decompressing them.
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **headers}
        self._connect_timeout_s = connect_timeout_s
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=60, socket_factory=_make_socket
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A proxy is looked up once per address, not once per request.
            trust_env=False,
        )
        return self._session

    async def send(self, address: Address, route: str, body: bytes | None, deadline: float) -> Answer:
        """POST ``body`` (None: GET), by ``deadline`` in the event loop's seconds.

        Redirects are not followed: they would carry the API key elsewhere.

        Raises:
            CallFailure: no whole HTTP answer came.
        """
        session = self._session or self._open()
        method = "GET" if body is None else "POST"
        traced = traceparent()
        try:
            async with (
                asyncio.timeout_at(deadline),
                session.request(
                    method,
                    address.url(route),
                    data=body,
                    headers={"traceparent": traced} if traced else None,
                    allow_redirects=False,
                    proxy=address.proxy,
                ) as response,
            ):
                body, headers = await response.read(), response.headers
                location = headers.get("Location", "").partition("?")[0] if response.status < 400 else ""
                return Answer(response.status, body, _retry_after(headers), location)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            # `from None`: aiohttp's errors hold the request's headers.
            raise self._explain(error, address) from None

    def _explain(self, error: Exception, address: Address) -> CallFailure:
        where, what = address.shown, self.scrub(describe(error))
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            reason = f"no connection to {where} within {self._connect_timeout_s:g} s"
            return CallFailure(FailureKind.TRANSPORT_UNREACHABLE, reason, overload=True, lost=True)
        if isinstance(error, TimeoutError):
            reason = f"no answer from {where} by the deadline"
            return CallFailure(FailureKind.TRANSPORT_TIMEOUT, reason, retry=False, overload=True)
        if isinstance(error, OSError) and error.errno in _LOCAL:
            return CallFailure(
                FailureKind.TRANSPORT_LOCAL_RESOURCE, f"cannot connect to {where}: {what}", overload=True
            )
        if isinstance(error, aiohttp.ClientConnectorError):
            return CallFailure(FailureKind.TRANSPORT_UNREACHABLE, f"cannot connect to {where}: {what}", lost=True)
        if isinstance(error, aiohttp.ClientResponseError):
            return invalid_reply(f"{where} does not speak HTTP: {what}")
        return CallFailure(FailureKind.TRANSPORT_PEER_DROP, f"{where} dropped the connection: {what}")

    async def close(self) -> None:
        """Close all connections. A later call opens a new pool."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def encode(body: dict[str, Any]) -> bytes:
    """JSON bytes of a request.

    Raises:
        RolloutError: something in it is no JSON (kind ``bad_task``).
    """
    try:
        return orjson.dumps(body)
    except TypeError:
        pass
    try:
        # Lone surrogates and integers beyond 64 bits, which orjson refuses.
        return json.dumps(body).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RolloutError(FailureKind.BAD_TASK, Stage.MODEL, f"the request is no JSON: {describe(error)}") from None


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object of a reply.

    Raises:
        CallFailure: it is none (kind ``model_invalid_response``).
    """
    try:
        data = orjson.loads(body)
    except ValueError:
        data = _lenient(body)
    if not isinstance(data, dict):
        page = body[:100].lstrip().startswith(b"<")
        what = "a web page (a login, or not the API's address?)" if page else "no JSON object"
        raise invalid_reply(f"the endpoint answered 200 with {what} ({len(body)} bytes)")
    return data


def _lenient(body: bytes) -> Any:
    # Servers in Python may write NaN and Infinity, which JSON does not have: a NaN must be seen as one.
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def status_failure(answer: Answer, where: str, scrub: Scrubber) -> CallFailure:
    """What a status other than 2xx means; the server's own message is in the reason."""
    status, message = answer.status, error_message(answer.body)
    reason = f"HTTP {status} from {where}: {scrub(message)}".rstrip(": ")
    wait = parse_retry_after(answer.retry_after)
    if answer.location:
        reason = f"HTTP {status} from {where}: it redirects to {scrub(answer.location)}; set the address that is meant"
    if status == 402:
        return CallFailure(FailureKind.PROVIDER_QUOTA_EXHAUSTED, reason, terminal=True, retry=False)
    if status == 429:
        # Some providers answer 429 for an empty purse too: waiting does not fill it.
        broke = "insufficient_quota" in message
        kind = FailureKind.PROVIDER_QUOTA_EXHAUSTED
        return CallFailure(kind, reason, terminal=broke, retry=not broke, overload=True, retry_after=wait)
    if status in (408, 409, 425) or (status >= 500 and status != 501):
        kind = FailureKind.PROVIDER_UNAVAILABLE
        # 529 is how some providers say that they are overloaded.
        return CallFailure(kind, reason, overload=status in (408, 503, 529), retry_after=wait)
    return CallFailure(FailureKind.MODEL_REJECTED_REQUEST, reason, terminal=True, retry=False)


def error_message(body: bytes) -> str:
    """The human part of an error body: ``error.message``, ``detail``, ``message``, or the text itself.

    OpenAI's ``error.code`` (and ``type``) is kept, because it says what the words may not.
    """
    try:
        data = orjson.loads(body)
    except ValueError:
        return body[:4000].decode("utf-8", "replace")
    if isinstance(data, dict):
        data = data.get("error") or data.get("detail") or data.get("message") or data
    if isinstance(data, dict) and isinstance(data.get("message"), str):
        words = (data.get("code"), data.get("type"), data["message"])
        return " ".join(word for word in words if isinstance(word, str))[:4000]
    return data[:4000] if isinstance(data, str) else orjson.dumps(data).decode()[:4000]
