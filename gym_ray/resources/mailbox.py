"""One client's side of a resources actor: its sessions, its running requests, its answers not yet fetched.

A request is ``(op, request id, *arguments)``, an answer ``(request id, value)``, both pickled one by one, so
that one value that cannot travel spoils nothing but itself. A session goes by the id of the request that
seeded it. Operations::

    seed    raw row, rollout id          -> observation
    tool    session, name, arguments     -> text (a fourth argument: the trace context that it runs in)
    step    session, action              -> StepResult
    verify  session, packed trajectory   -> Reward
    group   raw row, packed trajectories -> list of Rewards
    close   session                      no answer

An answer may be a ``RolloutError`` or a ``MaskRollout``.
"""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Callable
from typing import Any

from gym_ray.resources.host import Host
from gym_ray.resources.sessions import HostSession
from gym_ray.resources.wire import unpack
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage, describe
from gym_ray.types.trace import CURRENT

Answer = tuple[int, bytes]

WAIT_S = 1.0
"""How long an exchange waits for the first answer."""
GATHER_S = 0.002
"""How long it then waits for more."""
STAGES = {
    "seed": Stage.SEED,
    "tool": Stage.TOOL,
    "step": Stage.TOOL,
    "verify": Stage.VERIFY,
    "group": Stage.GROUP,
}


class _Open:
    """A session and the requests that run on it; ``session`` is None until it is seeded."""

    __slots__ = ("session", "tasks")

    def __init__(self) -> None:
        self.session: HostSession | None = None
        self.tasks: set[asyncio.Task[None]] = set()


class Mailbox:
    """See the module. ``load_row``: raw row -> the row, the same object for the same bytes."""

    def __init__(self, host: Host, load_row: Callable[[bytes], dict[str, Any]]) -> None:
        self._host, self._load_row = host, load_row
        self._open: dict[int, _Open] = {}
        self._answers: list[Answer] = []
        self._waiter: asyncio.Future[None] | None = None
        self._running: set[int] = set()
        self._stateless: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._heard = time.monotonic()

    def start(self, request: bytes) -> None:
        """Begin one request; it runs as a task of its own."""
        op, number, *arguments = pickle.loads(request)
        loop = asyncio.get_running_loop()
        if op == "close":
            _keep(loop.create_task(self._close(arguments[0])), self._closing)
            return
        self._running.add(number)
        task = loop.create_task(self._answer(op, number, arguments))
        # A task that is cancelled before its first step never gets to say so itself.
        task.add_done_callback(lambda _: self._running.discard(number))
        if op == "seed":
            self._open[number] = _Open()
        entry = self._open.get(number if op == "seed" else arguments[0]) if op != "group" else None
        _keep(task, self._stateless if entry is None else entry.tasks)

    async def collect(self) -> list[Answer]:
        """What is ready. Waits for a first answer if anything runs, until a newer call of the same client."""
        self._heard = time.monotonic()
        self._wake()
        if not self._answers and self._running:
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = loop.call_later(WAIT_S, _release, waiter)
            await waiter
            timer.cancel()
            if self._waiter is waiter and self._running:
                await asyncio.sleep(GATHER_S)
        answers, self._answers = self._answers, []
        return answers

    @property
    def silent_s(self) -> float:
        """Seconds since the client was last heard of."""
        return time.monotonic() - self._heard

    async def close(self) -> None:
        """Close every session of this client."""
        await asyncio.gather(*(self._close(number) for number in list(self._open)), *self._closing)

    def _wake(self) -> None:
        if self._waiter is not None:
            _release(self._waiter)

    async def _answer(self, op: str, number: int, arguments: list[Any]) -> None:
        value: Any
        try:
            value = await self._serve(op, number, arguments)
        except (RolloutError, MaskRollout) as error:
            value = error
        except Exception as error:
            value = RolloutError(FailureKind.AGENT_RUN_ERROR, STAGES[op], describe(error))
        self._answers.append((number, _dump(op, value)))
        self._running.discard(number)
        self._wake()

    async def _serve(self, op: str, number: int, arguments: list[Any]) -> Any:
        if op == "seed":
            return await self._seed(number, *arguments)
        if op == "group":
            raw, packed = arguments
            return await self._host.verify_group(self._load_row(raw), [unpack(one) for one in packed])
        entry = self._open.get(arguments[0])
        if entry is None or entry.session is None:
            reason = "the resources actor does not know this session"
            raise RolloutError(FailureKind.SESSION_LOST, STAGES[op], reason, terminal=False)
        if op == "tool":
            CURRENT.set("".join(arguments[3:]))
            return await entry.session.call_tool(arguments[1], arguments[2])
        if op == "step":
            return await entry.session.step(arguments[1])
        return await entry.session.verify(unpack(arguments[1]))

    async def _seed(self, number: int, raw: bytes, rollout_id: str) -> str | None:
        entry = self._open[number]
        try:
            entry.session = await self._host.seed(self._load_row(raw), rollout_id)
        except BaseException:
            self._open.pop(number, None)
            raise
        return entry.session.observation

    async def _close(self, number: int) -> None:
        entry = self._open.pop(number, None)
        if entry is None:
            return
        for task in entry.tasks:
            task.cancel()
        if entry.tasks:
            await asyncio.wait(entry.tasks, timeout=WAIT_S)
        if entry.session is not None:
            await entry.session.close()


def _keep(task: asyncio.Task[None], group: set[asyncio.Task[None]]) -> None:
    group.add(task)
    task.add_done_callback(group.discard)


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _dump(op: str, value: Any) -> bytes:
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        reason = f"what the environment returned cannot be pickled: {describe(error)}"
        return pickle.dumps(RolloutError(FailureKind.AGENT_RUN_ERROR, STAGES[op], reason))
