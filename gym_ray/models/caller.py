"""One model call with all its attempts: gate, address, transport, backoff.

Invariants: at most ``policy.max_attempts`` attempts, never beyond ``timeout_s`` from the moment the gate let
the call in (those that met a paused model count for neither, and a client that is ``patient`` does not count
those that found nobody listening: its replicas restart); a call that backs off keeps its place in the gate, so
that an endpoint that refuses sees fewer calls, not more; what leaves is the reply or one :class:`RolloutError`
that says how often was tried.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar

from gym_ray.models.addresses import Address, Addresses
from gym_ray.models.failure import CallFailure
from gym_ray.models.http import Answer, Transport
from gym_ray.models.limiter import Gate
from gym_ray.models.retry import RetryPolicy
from gym_ray.models.turnstile import Turnstile
from gym_ray.types.errors import FailureKind, RolloutError

T = TypeVar("T")
Decode = Callable[[Answer, Address], T]
"""Turns an HTTP answer of any status into a reply, or raises CallFailure or RolloutError."""

PATIENT_STEP_S = 3.0
"""Longest wait of a patient client between two looks for a replica, in seconds."""


class Caller:
    """Makes calls. One instance per client, shared by all its calls."""

    def __init__(
        self,
        transport: Transport,
        addresses: Addresses,
        gate: Gate,
        policy: RetryPolicy,
        timeout_s: float,
        *,
        patient: bool = False,
    ) -> None:
        self._transport, self._addresses, self._gate = transport, addresses, gate
        self._policy, self._timeout_s, self._patient = policy, timeout_s, patient
        self._answered = Turnstile()

    async def call(self, session: str, route: str, body: bytes | None, decode: Decode[T]) -> T:
        """Send ``body`` (None: GET) to ``route`` at the session's address until ``decode`` accepts an answer.

        Raises:
            RolloutError: it cannot be done, or attempts or time are spent.
        """
        gate = self._gate
        if not gate.try_acquire():
            await gate.acquire()
        try:
            return await self._attempt(session, route, body, decode)
        finally:
            gate.release()

    async def _attempt(self, session: str, route: str, body: bytes | None, decode: Decode[T]) -> T:
        began = asyncio.get_running_loop().time()
        deadline = began + self._timeout_s
        failures: list[tuple[CallFailure, Address | None]] = []
        while True:
            address, sent = None, asyncio.get_running_loop().time()
            try:
                address = self._addresses.pick(session, _worn_out(failures) if failures else ())
                answer = await self._transport.send(address, route, body, deadline)
                if not self._answered.try_pass():
                    await self._answered.wait()
                reply = decode(answer, address)
            except CallFailure as failure:
                failures.append((failure, address))
                if failure.paused:
                    deadline += asyncio.get_running_loop().time() - sent
                await self._recover(failures, began, deadline)
            else:
                self._addresses.found(address)
                self._gate.clean()
                return reply

    async def _recover(self, failures: list[tuple[CallFailure, Address | None]], began: float, deadline: float) -> None:
        """Wait until the next attempt may start, or raise."""
        failure, address = failures[-1]
        if failure.overload:
            self._gate.overloaded(failure.retry_after)
        counted = sum(not (one.paused or (self._patient and one.lost)) for one, _ in failures)
        if not failure.retry or counted >= self._policy.max_attempts:
            raise self._spent(failures, began) from None
        if failure.lost:
            await self._addresses.lost(address, deadline - asyncio.get_running_loop().time())
        delay = 0.0 if failure.paused else self._delay(failure, len(failures))
        if asyncio.get_running_loop().time() + delay >= deadline:
            raise self._spent(failures, began) from None
        await asyncio.sleep(delay)
        await self._gate.yield_if_over()

    def _delay(self, failure: CallFailure, failed: int) -> float:
        if failure.lost and self._addresses.others_awake:
            return 0.0
        delay = self._policy.delay(failed, failure.retry_after, random.random())
        return min(delay, PATIENT_STEP_S) if self._patient and failure.lost else delay

    def _spent(self, failures: list[tuple[CallFailure, Address | None]], began: float) -> RolloutError:
        last = failures[-1][0]
        if type(last) is not CallFailure:
            return last  # its own type is a message to the client that made the call
        reason = self._transport.scrub(last.reason)
        if last.retry or len(failures) > 1 or last.kind == FailureKind.TRANSPORT_TIMEOUT:
            seconds = asyncio.get_running_loop().time() - began
            reason = f"{reason} (gave up after {len(failures)} attempts in {seconds:.1f} s)"
        return RolloutError(last.kind, last.stage, reason, terminal=last.terminal)


def _worn_out(failures: list[tuple[CallFailure, Address | None]]) -> list[Address]:
    """Addresses that failed this call twice, not counting those where nobody listened: try elsewhere."""
    tried = [address for failure, address in failures if address is not None and not (failure.lost or failure.paused)]
    return [address for address in dict.fromkeys(tried) if tried.count(address) > 1]
