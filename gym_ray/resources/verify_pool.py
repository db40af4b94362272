"""Killable worker processes for verifiers that compute or block.

Invariants:

- A worker answers in order, so its first unanswered job is the one that runs. That job alone is blamed for
  a death or a deadline; those behind it go to another worker.
- A deadline counts from the moment a job is first in line at a ready worker.
- A few jobs wait in each worker's socket, so that a fast verifier never waits for this event loop. A job
  stuck behind a slow one is also given to an idle worker; the first answer counts.
- A worker is its own process group and is killed whole.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.frames import FrameBuffer, frame
from gym_ray.resources.offspring import how_it_ended
from gym_ray.types.errors import FailureKind, MaskRollout, describe

log = logging.getLogger(__name__)

DEPTH = 16
"""Jobs sent to one worker ahead of its answers."""
TICK_S = 0.05
"""How often deadlines are checked; also the age at which a job counts as slow."""
START_S = 120.0
"""Deadline for a worker to import its class."""
FALSE_STARTS = 3
"""Workers that died before they were ready, in a row, after which jobs are given up at once."""


@dataclass(slots=True, eq=False)
class _Job:
    data: bytes
    future: asyncio.Future[Any]

    def settle(self, answer: Any) -> None:
        if self.future.done():
            return
        if isinstance(answer, Exception):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


class _Worker(asyncio.Protocol):
    """One child process. ``since``: when its first job began (or when the process did, until it is ready)."""

    def __init__(self, pool: VerifyPool) -> None:
        self.jobs: deque[_Job] = deque()
        self.since = time.monotonic()
        self.ready = False
        self.condemned: _Job | None = None
        self._pool = pool
        self._buffer = FrameBuffer()
        self._transport: asyncio.Transport | None = None
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _spawn(theirs)
        self._opening = asyncio.get_running_loop().create_task(self._open(ours))

    async def _open(self, ours: socket.socket) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._pool.setup)

    def send(self, job: _Job) -> None:
        assert self._transport is not None
        if not self.jobs:
            self.since = time.monotonic()
        self.jobs.append(job)
        self._transport.write(job.data)

    def data_received(self, data: bytes) -> None:
        for answer in self._buffer.feed(data):
            if self.ready:
                self.jobs.popleft().settle(answer)
            elif isinstance(answer, Exception):
                log.error("a verify worker cannot load its class: %s", answer)
            else:
                self.ready = True
                self._pool.false_starts = 0
        self.since = time.monotonic()
        self._pool.dispatch()

    def connection_lost(self, exc: Exception | None) -> None:
        self.kill()
        self._pool.lost(self)

    def kill(self) -> None:
        """End the process group. The socket's end follows."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def reap(self) -> str:
        """How the process ended, in words."""
        await self._opening
        if self._transport is not None:
            self._transport.close()
        code = await asyncio.get_running_loop().run_in_executor(None, self._process.wait)
        return how_it_ended(code)


class VerifyPool:
    """``config.verify_workers`` workers. ``deadline_s``: seconds per verify. Lives on one event loop."""

    def __init__(self, config: EnvironmentConfig, deadline_s: float) -> None:
        self.setup = frame({"server": config.server, "options": config.options})
        self._size, self._deadline_s, self._queue_s = config.verify_workers, deadline_s, config.session_ttl_s
        self._workers: list[_Worker] = []
        self._backlog: deque[_Job] = deque()
        self._ticking = self._closed = False
        self.false_starts = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start the workers; returns before they are ready."""
        while len(self._workers) < self._size:
            self._workers.append(_Worker(self))
        self._tick()

    async def run(self, request: tuple[Any, ...]) -> Any:
        """A worker's answer to ``request`` (see ``verify_worker.Verifier.answer``).

        Raises:
            MaskRollout: the verifier's own; ``verifier_timeout``, ``verifier_crashed`` or ``verifier_error``.
        """
        if self._closed or self.false_starts >= FALSE_STARTS:
            raise MaskRollout(FailureKind.VERIFIER_CRASHED, "no verify worker runs: they die before they are ready")
        try:
            data = frame(request)
        except Exception as error:
            reason = f"a cpu_bound verifier's session must be picklable: {describe(error)}"
            raise MaskRollout(FailureKind.VERIFIER_ERROR, reason) from error
        job = _Job(data, asyncio.get_running_loop().create_future())
        self._backlog.append(job)
        self.dispatch()
        self._tick()
        try:
            async with asyncio.timeout(self._queue_s + self._deadline_s):
                return await job.future
        except TimeoutError:
            reason = f"waited {self._queue_s:g} s for a verify worker: raise `verify_workers`"
            raise MaskRollout(FailureKind.VERIFIER_TIMEOUT, reason) from None

    async def close(self) -> None:
        """Kill the workers and wait until they are gone."""
        self._closed = True
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.kill()
        await asyncio.gather(*(worker.reap() for worker in workers), *self._tasks)

    def dispatch(self) -> None:
        """Send waiting jobs to the workers with the shortest lines."""
        while self._backlog:
            worker = min((one for one in self._workers if one.ready), key=lambda one: len(one.jobs), default=None)
            if worker is None or len(worker.jobs) >= DEPTH:
                return
            job = self._backlog.popleft()
            if not job.future.done():
                worker.send(job)

    def lost(self, worker: _Worker) -> None:
        """A worker's connection ended: blame its first job, pass the others on, start another worker."""
        if self._closed:
            return
        self._workers.remove(worker)
        self.false_starts += not worker.ready
        head = worker.jobs.popleft() if worker.jobs else None
        if worker.condemned is not None and worker.condemned is not head and head is not None:
            # The condemned job was answered after all: the next one is innocent.
            worker.jobs.appendleft(head)
            head = None
        self._backlog.extendleft(job for job in reversed(worker.jobs) if not job.future.done())
        task = asyncio.get_running_loop().create_task(self._replace(worker, head))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replace(self, worker: _Worker, head: _Job | None) -> None:
        how = await worker.reap()
        if worker.condemned is not None:
            mask = MaskRollout(FailureKind.VERIFIER_TIMEOUT, f"verify did not end within {self._deadline_s:g} s")
        else:
            mask = MaskRollout(FailureKind.VERIFIER_CRASHED, f"the verify worker {how}")
            log.warning("a verify worker %s", how)
        if head is not None:
            head.settle(mask)
        if self.false_starts >= FALSE_STARTS:
            while self._backlog:
                self._backlog.popleft().settle(mask)
        if not worker.ready:
            await asyncio.sleep(min(30.0, 0.1 * 2**self.false_starts))
        if not self._closed:
            self.start()

    def _tick(self) -> None:
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(TICK_S, self._check)

    def _check(self) -> None:
        self._ticking = False
        now = time.monotonic()
        for worker in self._workers:
            age = now - worker.since
            if not worker.ready and age > START_S:
                worker.kill()
            elif worker.ready and worker.jobs and age > self._deadline_s:
                worker.condemned = worker.jobs[0]
                worker.kill()
            elif worker.ready and len(worker.jobs) > 1 and age > TICK_S:
                self._offer(worker)
        if not self._closed and (self._backlog or any(worker.jobs or not worker.ready for worker in self._workers)):
            self._tick()

    def _offer(self, slow: _Worker) -> None:
        idle = [worker for worker in self._workers if worker.ready and not worker.jobs]
        stuck = [job for job in list(slow.jobs)[1:] if not job.future.done()]
        for worker, job in zip(idle, stuck, strict=False):
            worker.send(job)


def _spawn(theirs: socket.socket) -> subprocess.Popen[bytes]:
    # The child may have to find what only this process's sys.path knows.
    path = os.pathsep.join(place or os.getcwd() for place in sys.path)
    module = "gym_ray.resources.verify_worker"
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=2,
        env={**os.environ, "PYTHONPATH": path},
        process_group=0,
    )
