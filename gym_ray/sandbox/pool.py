"""An environment's sandboxes: a few kept ready, a bound on how many are in use, a bound on how fast they start.

Each is used once: whoever takes one gets it fresh, and leaving the block ends it with all that is in it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gym_ray.sandbox.choose import choose
from gym_ray.sandbox.command import Limits
from gym_ray.sandbox.config import MIB, SandboxConfig
from gym_ray.sandbox.provider import Provider, Sandbox, SandboxUnavailable

log = logging.getLogger(__name__)

TRIES = 3
"""Starts of one sandbox before its taker is told."""
BACKOFF_S = 0.5
"""Pause after a failed start; doubles."""


class SandboxPool:
    """Made anywhere; used on one event loop.

    Raises:
        UserError: no isolation can be had (``choose``).
    """

    def __init__(self, config: SandboxConfig) -> None:
        self.limits = Limits(memory_bytes=config.memory_mb * MIB, processes=config.processes)
        self._config = config
        self._provider: Provider = choose(config)
        self._places = asyncio.Semaphore(config.max_running or len(os.sched_getaffinity(0)))
        self._ready: deque[Sandbox] = deque()
        self._next_start = 0.0
        self._filling: asyncio.Task[None] | None = None

    @property
    def provider(self) -> str:
        """Name of the wall in use; ``UNSAFE`` is none."""
        return self._provider.name

    async def take(self) -> Sandbox:
        """A fresh sandbox, once there is a place. Give each back.

        Raises:
            SandboxUnavailable: none could be started, or no place came free in ``queue_s``.
        """
        try:
            async with asyncio.timeout(self._config.queue_s):
                await self._places.acquire()
        except TimeoutError:
            reason = f"no sandbox came free within {self._config.queue_s:g} s: raise `sandbox.max_running`"
            raise SandboxUnavailable(reason) from None
        try:
            while self._ready and (sandbox := self._ready.popleft()):
                if not sandbox.closed:
                    break
            else:
                sandbox = await self._start()
        except BaseException:
            self._places.release()
            raise
        self._fill()
        return sandbox

    def give_back(self, sandbox: Sandbox) -> None:
        """End it and free its place."""
        sandbox.close()
        self._places.release()

    @asynccontextmanager
    async def sandbox(self) -> AsyncIterator[Sandbox]:
        """A fresh sandbox for the block. Raises as :meth:`take`."""
        sandbox = await self.take()
        try:
            yield sandbox
        finally:
            self.give_back(sandbox)

    async def aclose(self) -> None:
        """End all of them."""
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)
        while self._ready:
            self._ready.pop().close()
        await self._provider.aclose()

    def _fill(self) -> None:
        if len(self._ready) < self._config.warm and (self._filling is None or self._filling.done()):
            self._filling = asyncio.get_running_loop().create_task(self._keep_ready())

    async def _keep_ready(self) -> None:
        try:
            while len(self._ready) < self._config.warm:
                self._ready.append(await self._start())
        except SandboxUnavailable as error:
            # The next taker tries again, and is told.
            log.warning("sandbox: %s", error)

    async def _start(self) -> Sandbox:
        for tries in range(TRIES):
            await self._pace()
            try:
                return await self._provider.start()
            except SandboxUnavailable:
                if tries == TRIES - 1:
                    raise
                await asyncio.sleep(BACKOFF_S * 2**tries)
        raise AssertionError

    async def _pace(self) -> None:
        now = asyncio.get_running_loop().time()
        self._next_start = max(now, self._next_start) + 1.0 / self._config.starts_per_s
        await asyncio.sleep(self._next_start - now - 1.0 / self._config.starts_per_s)
