"""Sessions of one host: at most ``max_sessions`` at once, each closed exactly once.

A session ends when its rollout closes it, when nobody has used it for ``ttl_s`` seconds, or when the host
goes down. Whichever comes first runs the author's ``close``; the others find it done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gym_ray.resources.deadline import within
from gym_ray.resources.gymnasium import StepResult
from gym_ray.resources.judge import JudgeUsage, metered
from gym_ray.resources.rows import ParsedRow
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.errors import FailureKind, RolloutError, Stage, describe
from gym_ray.types.items import Item
from gym_ray.types.outcome import Reward
from gym_ray.types.trajectory import Trajectory

if TYPE_CHECKING:
    from gym_ray.resources.host import Host

log = logging.getLogger(__name__)


class HostSession:
    """One rollout's session in this process (a ``ResourcesSession``).

    ``state``: what ``seed`` returned. ``judged``: what its judges cost since, None where there are none.
    """

    __slots__ = ("_host", "busy", "ended", "judged", "observation", "row", "state", "used")

    def __init__(
        self, host: Host, row: ParsedRow, state: Session, observation: str | None, judged: JudgeUsage | None = None
    ) -> None:
        self._host, self.row, self.state, self.observation = host, row, state, observation
        self.judged = judged
        self.ended: FailureKind | None = None
        self.busy = 0
        self.used = time.monotonic()

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> str:
        """See ``ResourcesSession``."""
        with self._in_use(Stage.TOOL):
            return await self._host.toolbox.call(self.state, name, arguments)

    async def step(self, action: list[Item]) -> StepResult:
        """See ``ResourcesSession``."""
        with self._in_use(Stage.TOOL):
            return await self._host.step(self, action)

    async def verify(self, trajectory: Trajectory) -> Reward:
        """See ``ResourcesSession``."""
        with self._in_use(Stage.VERIFY):
            return await self._host.verify(self, trajectory)

    async def close(self) -> None:
        """See ``ResourcesSession``."""
        if self.ended is None:
            await self._host.sessions.end(self, FailureKind.SESSION_LOST)

    @contextmanager
    def _in_use(self, stage: Stage) -> Iterator[None]:
        if self.ended is not None:
            expired = self.ended is FailureKind.SESSION_EXPIRED
            reason = "nothing used this session for session_ttl_s" if expired else "this session is closed"
            raise RolloutError(self.ended, stage, reason)
        self.busy += 1
        try:
            if self.judged is None:
                yield
            else:
                with metered(self.judged):
                    yield
        finally:
            self.busy -= 1
            self.used = time.monotonic()


class SessionTable:
    """The open sessions of one server instance."""

    def __init__(self, server: ResourcesServer, max_sessions: int, ttl_s: float, close_timeout_s: float) -> None:
        self._server, self._ttl_s, self._close_timeout_s = server, ttl_s, close_timeout_s
        self._open: set[HostSession] = set()
        self._slots = asyncio.Semaphore(max_sessions)
        self._closes = type(server).close is not ResourcesServer.close
        self._closing: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    async def reserve(self) -> None:
        """Wait for a free place; each needs one :meth:`add` or :meth:`give_up`.

        Raises:
            RolloutError: none came free within the time to live (a stuck session would have expired by then).
        """
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(self._ttl_s):
                await self._slots.acquire()
        except TimeoutError:
            reason = f"no free session within {self._ttl_s:g} s: raise `max_sessions` or `num_actors`"
            raise RolloutError(FailureKind.SEED_ERROR, Stage.SEED, reason, terminal=False) from None

    def give_up(self) -> None:
        """Return a reserved place unused."""
        self._slots.release()

    def add(self, session: HostSession) -> None:
        """Fill a reserved place."""
        self._open.add(session)

    async def end(self, session: HostSession, why: FailureKind) -> None:
        """Close a session, once; later uses of it fail as ``why``. Never raises."""
        session.ended = why
        self._open.discard(session)
        if not self._closes:
            self._slots.release()
            return
        task = asyncio.get_running_loop().create_task(self._finish(session.state))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        # A cancelled rollout must not tear its environment's clean-up apart.
        await asyncio.shield(task)

    async def close_state(self, state: Session) -> None:
        """The author's ``close``, under a deadline. Never raises."""
        try:
            await within(self._close_timeout_s, self._server.close(state))
        except (Exception, SystemExit) as error:
            log.warning("%s.close: %s", type(self._server).__name__, describe(error))

    async def aclose(self) -> None:
        """Close every session."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        await asyncio.gather(*(session.close() for session in list(self._open)))
        await asyncio.gather(*self._closing)

    async def _finish(self, state: Session) -> None:
        try:
            await self.close_state(state)
        finally:
            self._slots.release()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(60.0, self._ttl_s / 8))
            oldest = time.monotonic() - self._ttl_s
            for session in [one for one in self._open if not one.busy and one.used < oldest]:
                await self.end(session, FailureKind.SESSION_EXPIRED)
