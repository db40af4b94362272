"""A client of our own deployment's direct door: each replica serves ``POST {base}/turn`` on a port of its own.

The request is ``{params, items, session, covered, prefix}``: ``prefix`` holds the ids of the previous call
(prompt and sampled), so that the replica extends them instead of rendering history again. The reply is
``{items, finish_reason, usage, tokens}``, where ``tokens`` is ``{kept, suffix, sampled, logprobs, version}``
or null: the prompt was ``prefix[:kept] + suffix`` (``kept`` is 0 when a new segment began), so that the ids
of a long history are not sent back. An error is ``{"error": {kind, reason, terminal}}`` with a 4xx or 5xx.

Replicas come and go. Their addresses are listed anew every few seconds and whenever one is lost, and while
none is up a call waits for one until its deadline. A model that is paused for new weights holds calls for
a while and then says so: they are made again, and no attempt or time of theirs is spent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from gym_ray.models.addresses import Address, LiveAddresses
from gym_ray.models.caller import Caller
from gym_ray.models.config import ModelConfig
from gym_ray.models.exact import checked
from gym_ray.models.failure import CallFailure, invalid_reply
from gym_ray.models.http import Answer, Transport, decode, encode, status_failure
from gym_ray.models.limiter import CAP
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.models.remote import make_gate
from gym_ray.models.reply import finished
from gym_ray.models.retry import RetryPolicy
from gym_ray.types.errors import FailureKind, RolloutError, describe
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Usage

Json = dict[str, Any]
TURN = "/turn"


class TurnModel:
    """See :class:`gym_ray.models.protocol.Model`.

    ``list_endpoints`` returns the base addresses of the replicas that are up; its ``token``, if it has one, returns
    what opens their doors.
    """

    def __init__(self, config: ModelConfig, list_endpoints: Callable[[], Awaitable[list[str]]]) -> None:
        self.name = config.name
        self._extra = dict(config.extra_body)
        token = getattr(list_endpoints, "token", None)
        key = {} if token is None else {"Authorization": f"Bearer {token()}"}
        self._transport = Transport({**config.headers, **key}, config.connect_timeout_s)
        self._addresses = LiveAddresses(list_endpoints)
        # Our own engines queue what they cannot batch yet: a slow start would only starve them.
        gate = make_gate(config, start=CAP)
        policy = RetryPolicy.of(config.retry)
        self._caller = Caller(self._transport, self._addresses, gate, policy, config.timeout_s, patient=True)

    async def respond(self, request: ModelRequest) -> ModelReply:
        """See :class:`Model`."""
        last = request.last_turn
        prefix = None if last is None else last.prompt + last.sampled
        body = {
            "params": {**self._extra, **request.params} if self._extra else request.params,
            "items": request.items,
            "session": request.session,
            "covered": request.covered,
            "prefix": prefix,
        }

        def read(answer: Answer, address: Address) -> ModelReply:
            return self._read(answer, address, prefix or [])

        return await self._caller.call(request.session, TURN, encode(body), read)

    def _read(self, answer: Answer, address: Address, prefix: list[int]) -> ModelReply:
        if answer.status != 200:
            raise self._failure(answer, address)
        try:
            return turn_reply(decode(answer.body), prefix)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise invalid_reply(f"{address.shown} sent no turn: {describe(error)}") from None

    def _failure(self, answer: Answer, address: Address) -> RolloutError:
        """The replica's own word for what went wrong; whether to retry is the status's."""
        failure = status_failure(answer, address.shown, self._transport.scrub)
        try:
            error = decode(answer.body)["error"]
            kind, reason, terminal = str(error["kind"]), str(error["reason"]), bool(error["terminal"])
        except (CallFailure, KeyError, TypeError):
            return failure
        paused = kind == FailureKind.MODEL_PAUSED
        return CallFailure(
            kind,
            self._transport.scrub(reason),
            terminal=terminal,
            retry=failure.retry and not terminal,
            overload=failure.overload and not paused,
            retry_after=failure.retry_after,
            paused=paused,
        )

    async def close(self) -> None:
        """See :class:`Model`."""
        await self._addresses.close()
        await self._transport.close()


def turn_reply(data: Json, prefix: list[int]) -> ModelReply:
    """The reply of ``/turn``, its prompt ids made whole again.

    Raises:
        CallFailure: ids and logprobs differ in number.
        RolloutError: a logprob is NaN, or nothing was sampled.
    """
    tokens, usage = data["tokens"], data["usage"]
    if tokens is not None:
        kept = tokens["kept"]
        if not 0 <= kept <= len(prefix):
            raise ValueError(f"{kept} ids kept of a prefix of {len(prefix)}")
        prompt = prefix[:kept] + tokens["suffix"]
        tokens = checked(TurnTokens(prompt, tokens["sampled"], tokens["logprobs"], tokens["version"]))
    return finished(data["items"], FinishReason(data["finish_reason"]), Usage(**usage), tokens)
