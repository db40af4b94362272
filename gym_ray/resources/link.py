"""One resources actor, seen from an agent's process: coalesced calls, and what its death means.

Invariants:

- Everything pending for the actor leaves as one Ray call, at most :data:`FLIGHTS` of them under way, started at
  least ``gather_s`` apart. The actor answers within about a second with what is ready, so no
  slow operation holds another one's answer.
- What was asked of one incarnation of the actor is never sent to another. When it is gone (it died, was
  restarted, or does not answer), everything asked of it fails as ``session_lost``, not terminal, at once.
- Every operation has a deadline here too.

A link lives on one event loop, which need not be Ray's.
"""

from __future__ import annotations

import asyncio
import itertools
import pickle
import random
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ray.exceptions import ActorDiedError

from gym_ray.resources.gymnasium import StepResult
from gym_ray.resources.mailbox import STAGES
from gym_ray.resources.office import Letter, Reply
from gym_ray.resources.wire import pack
from gym_ray.types.errors import FailureKind, RolloutError, describe
from gym_ray.types.items import Item
from gym_ray.types.outcome import Reward
from gym_ray.types.trace import traceparent
from gym_ray.types.trajectory import Trajectory

FLIGHTS = 2
"""Exchanges under way per actor: one may wait for answers while another brings requests."""
FULL = 64
"""Pending requests that leave without waiting for more."""
CLOSE_S = 0.05
"""How long the news that a session is over waits for company."""
TICK_S = 1.0
"""How often deadlines are looked at."""
SLUGGISH_S = 5.0
"""An exchange unanswered for so long makes new seeds go elsewhere, if there is an elsewhere."""
STALL_S = 60.0
"""An exchange unanswered for so long means that the actor is lost."""
HEARTBEAT_S = 30.0
"""A client with open sessions is heard of at least so often."""


@dataclass(slots=True)
class _Asked:
    future: asyncio.Future[Any]
    op: str
    seconds: float
    deadline: float


@dataclass(frozen=True, slots=True)
class Terms:
    """What every link of a pool goes by. ``seconds``: deadline by operation. ``gather_s``: least time between
    the starts of two exchanges. ``tokens``: send those of turns. ``changed``: called when a link comes up or
    dies for good."""

    seconds: dict[str, float]
    gather_s: float
    tokens: bool
    changed: Callable[[], None]


class Link:
    """See the module. ``epoch`` counts the actor's losses; ``sessions``: open ones of this epoch."""

    def __init__(self, actor: Any, terms: Terms) -> None:
        self.epoch = self.sessions = self.exchanges = 0
        self.dead = False
        self._actor, self.terms = actor, terms
        self._loop = asyncio.get_running_loop()
        self._base = uuid.uuid4().hex
        self._incarnation: str | None = None
        self._numbers = itertools.count(1)
        self._pending: list[bytes] = []
        self._asked: dict[int, _Asked] = {}
        self._flights: dict[int, float] = {}
        self._flown = self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticker = self._loop.call_later(TICK_S, self._tick)
        self._spawn(self._connect())

    @property
    def up(self) -> bool:
        """True while an incarnation is known and answers."""
        return self._incarnation is not None

    @property
    def load(self) -> tuple[bool, int, float]:
        """Sort key for placement: the least is the best."""
        sluggish = bool(self._flights) and self._loop.time() - min(self._flights.values()) > SLUGGISH_S
        return sluggish, self.sessions, random.random()

    async def ask(self, epoch: int, op: str, *arguments: Any, number: int | None = None) -> Any:
        """The answer to one request (``mailbox`` lists them).

        Raises:
            RolloutError, MaskRollout: the actor's; ``session_lost`` or ``transport_timeout``, not terminal.
        """
        if epoch != self.epoch:
            raise _lost(op, "its actor is gone")
        number = next(self._numbers) if number is None else number
        self._pending.append(pickle.dumps((op, number, *arguments), pickle.HIGHEST_PROTOCOL))
        future, seconds = self._loop.create_future(), self.terms.seconds[op]
        self._asked[number] = _Asked(future, op, seconds, self._loop.time() + seconds)
        self._kick()
        try:
            return await future
        finally:
            self._asked.pop(number, None)

    async def seed(self, raw: bytes, rollout_id: str) -> RemoteSession:
        """Open a session on this actor."""
        number, epoch = next(self._numbers), self.epoch
        self.sessions += 1
        try:
            observation = await self.ask(epoch, "seed", raw, rollout_id, number=number)
        except BaseException:
            self.close(epoch, number)
            raise
        return RemoteSession(self, epoch, number, observation)

    def close(self, epoch: int, number: int) -> None:
        """Tell the actor that a session is over; nobody waits for that."""
        if epoch == self.epoch:
            self.sessions -= 1
            self._pending.append(pickle.dumps(("close", 0, number), pickle.HIGHEST_PROTOCOL))
            self._kick(CLOSE_S)

    async def aclose(self, timeout_s: float) -> None:
        """Send what is pending, then let go."""
        ends = self._loop.time() + timeout_s
        while self.up and (self._pending or self._flights) and self._loop.time() < ends:
            self._kick()
            await asyncio.sleep(self.terms.gather_s)
        self._ticker.cancel()
        self._drop("the environment is closed")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _kick(self, wait: float = 0.0) -> None:
        """Send what is pending in ``wait`` seconds, or as soon after as the pace allows."""
        now = self._loop.time()
        when = now if len(self._pending) >= FULL else max(self._flown + self.terms.gather_s, now + wait)
        if self._timer is not None:
            if self._due <= when:
                return
            self._timer.cancel()
        self._due, self._timer = when, self._loop.call_at(when, self._flush)

    def _flush(self) -> None:
        self._timer = None
        idle = self._asked and not self._flights
        if self.up and len(self._flights) < FLIGHTS and (self._pending or idle):
            self._fly()

    def _fly(self) -> None:
        letter: Letter = (f"{self._base}-{self.epoch}", self._incarnation, self._pending)
        self._pending = []
        self._flown = self._loop.time()
        self.exchanges += 1
        self._flights[self.exchanges] = self._flown
        self._spawn(self._land(self.exchanges, self.epoch, letter))

    async def _land(self, flight: int, epoch: int, letter: Letter) -> None:
        try:
            incarnation, answers = await self._exchange(letter)
        except Exception as error:
            self._lose(epoch, describe(error))
            return
        if epoch != self.epoch:
            return
        del self._flights[flight]
        if incarnation != self._incarnation:
            self._lose(epoch, "it was restarted")
            return
        for number, data in answers:
            asked = self._asked.pop(number, None)
            if asked is not None and not asked.future.done():
                _settle(asked, data)
        if self._pending or self._asked:
            self._kick()

    async def _exchange(self, letter: Letter) -> Reply:
        reply: Reply = pickle.loads(await self._actor.exchange.remote(pickle.dumps(letter, pickle.HIGHEST_PROTOCOL)))
        return reply

    async def _connect(self) -> None:
        wait = 0.05
        while True:
            try:
                self._incarnation, _ = await self._exchange((self._base, None, []))
            except ActorDiedError:
                self.dead = True
            except Exception:
                # Restarting. The next try tells.
                await asyncio.sleep(wait)
                wait = min(2.0, 2 * wait)
                continue
            self.terms.changed()
            return

    def _lose(self, epoch: int, why: str) -> None:
        if epoch == self.epoch:
            self._drop(why)
            self._spawn(self._connect())

    def _drop(self, why: str) -> None:
        self.epoch += 1
        self._incarnation, self.sessions = None, 0
        self._pending, self._flights = [], {}
        asked, self._asked = self._asked, {}
        for one in asked.values():
            if not one.future.done():
                one.future.set_exception(_lost(one.op, why))

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(TICK_S, self._tick)
        now = self._loop.time()
        if self._flights and now - min(self._flights.values()) > STALL_S:
            self._lose(self.epoch, f"no answer for {STALL_S:g} s")
        for one in list(self._asked.values()):
            if one.deadline < now and not one.future.done():
                reason = f"no answer from the resources actor within {one.seconds:g} s"
                kind = FailureKind.TRANSPORT_TIMEOUT
                one.future.set_exception(RolloutError(kind, STAGES[one.op], reason, terminal=False))
        if self.up and self.sessions and not self._flights and now - self._flown > HEARTBEAT_S:
            self._fly()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class RemoteSession:
    """A session in an actor (a ``ResourcesSession``)."""

    __slots__ = ("_closed", "_epoch", "_link", "_number", "observation")

    def __init__(self, link: Link, epoch: int, number: int, observation: str | None) -> None:
        self._link, self._epoch, self._number, self.observation = link, epoch, number, observation
        self._closed = False

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> str:
        """See ``ResourcesSession``."""
        traced = traceparent()
        more = (traced,) if traced else ()
        text: str = await self._link.ask(self._epoch, "tool", self._number, name, arguments, *more)
        return text

    async def step(self, action: list[Item]) -> StepResult:
        """See ``ResourcesSession``."""
        result: StepResult = await self._link.ask(self._epoch, "step", self._number, action)
        return result

    async def verify(self, trajectory: Trajectory) -> Reward:
        """See ``ResourcesSession``."""
        packed = pack(trajectory, tokens=self._link.terms.tokens)
        reward: Reward = await self._link.ask(self._epoch, "verify", self._number, packed)
        return reward

    async def close(self) -> None:
        """See ``ResourcesSession``. Returns before the actor has closed it."""
        if not self._closed:
            self._closed = True
            self._link.close(self._epoch, self._number)


def _settle(asked: _Asked, data: bytes) -> None:
    try:
        value = pickle.loads(data)
    except Exception as error:
        reason = f"what the environment returned cannot be read here: {describe(error)}"
        value = RolloutError(FailureKind.AGENT_RUN_ERROR, STAGES[asked.op], reason)
    if isinstance(value, Exception):
        asked.future.set_exception(value)
    else:
        asked.future.set_result(value)


def _lost(op: str, why: str) -> RolloutError:
    return RolloutError(FailureKind.SESSION_LOST, STAGES[op], f"the resources actor was lost: {why}", terminal=False)
