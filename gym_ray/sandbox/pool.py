"""An environment's sandboxes: a few kept ready, a bound on how many are in use, a bound on how fast they start.

Each is used once: whoever takes one gets it fresh, and leaving the block ends it with all that is in it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gym_ray.sandbox import walls
from gym_ray.sandbox.choose import choose
from gym_ray.sandbox.command import Limits
from gym_ray.sandbox.config import MIB, SandboxConfig
from gym_ray.sandbox.provider import Provider, Sandbox, SandboxUnavailable
from gym_ray.types.errors import UserError

log = logging.getLogger(__name__)

TRIES = 3
"""Starts of one sandbox before its taker is told."""
BACKOFF_S = 0.5
"""Pause after a failed start; doubles."""


class SandboxPool:
    """Made anywhere; used on one event loop.

    ``images``: who takes a sandbox may name a container image, so that a container program is enough to begin with.

    Raises:
        UserError: no isolation can be had (``choose``).
    """

    def __init__(self, config: SandboxConfig, *, images: bool = False) -> None:
        self.limits = Limits(memory_bytes=config.memory_mb * MIB, processes=config.processes)
        self._config = config
        self._of_images: dict[str, Provider] | None = {} if images and config.provider in walls.CONTAINERS else None
        if self._of_images is None or config.image:
            self._provider: Provider | None = choose(config)
        elif shutil.which(config.provider):
            self._provider = None
        else:
            raise UserError(f"sandbox: {config.provider} is not installed here (`sandbox.provider`)")
        self._places = asyncio.Semaphore(config.max_running or len(os.sched_getaffinity(0)))
        self._ready: deque[Sandbox] = deque()
        self._next_start = 0.0
        self._filling: asyncio.Task[None] | None = None

    @property
    def provider(self) -> str:
        """Name of the wall in use; ``UNSAFE`` is none."""
        return self._provider.name if self._provider is not None else self._config.provider

    async def take(self, image: str | None = None) -> Sandbox:
        """A fresh sandbox, once there is a place. Give each back. ``image``: in the place of ``sandbox.image``.

        Raises:
            SandboxUnavailable: none could be started, or no place came free in ``queue_s``.
        """
        provider = self._provider_of(image)
        try:
            async with asyncio.timeout(self._config.queue_s):
                await self._places.acquire()
        except TimeoutError:
            reason = f"no sandbox came free within {self._config.queue_s:g} s: raise `sandbox.max_running`"
            raise SandboxUnavailable(reason) from None
        try:
            while image is None and self._ready and (sandbox := self._ready.popleft()):
                if not sandbox.closed:
                    break
            else:
                sandbox = await self._start(provider)
        except BaseException:
            self._places.release()
            raise
        if image is None:
            self._fill(provider)
        return sandbox

    def give_back(self, sandbox: Sandbox) -> None:
        """End it and free its place."""
        sandbox.close()
        self._places.release()

    @asynccontextmanager
    async def sandbox(self, image: str | None = None) -> AsyncIterator[Sandbox]:
        """A fresh sandbox for the block. Arguments and errors: as :meth:`take`."""
        sandbox = await self.take(image)
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
        for provider in filter(None, [self._provider, *(self._of_images or {}).values()]):
            await provider.aclose()

    def _provider_of(self, image: str | None) -> Provider:
        if image is None:
            if self._provider is None:
                raise SandboxUnavailable("the task names no image, and `sandbox.image` is not set")
            return self._provider
        if self._of_images is None:
            wanted = ", ".join(walls.CONTAINERS)
            raise SandboxUnavailable(f"the task brings an image: `sandbox.provider` must be one of {wanted}")
        if image not in self._of_images:
            self._of_images[image] = walls.container(self._config.model_copy(update={"image": image}))
        return self._of_images[image]

    def _fill(self, provider: Provider) -> None:
        if len(self._ready) < self._config.warm and (self._filling is None or self._filling.done()):
            self._filling = asyncio.get_running_loop().create_task(self._keep_ready(provider))

    async def _keep_ready(self, provider: Provider) -> None:
        try:
            while len(self._ready) < self._config.warm:
                self._ready.append(await self._start(provider))
        except SandboxUnavailable as error:
            # The next taker tries again, and is told.
            log.warning("sandbox: %s", error)

    async def _start(self, provider: Provider) -> Sandbox:
        for tries in range(TRIES):
            await self._pace()
            try:
                return await provider.start()
            except SandboxUnavailable:
                if tries == TRIES - 1:
                    raise
                await asyncio.sleep(BACKOFF_S * 2**tries)
        raise AssertionError

    async def _pace(self) -> None:
        now = asyncio.get_running_loop().time()
        self._next_start = max(now, self._next_start) + 1.0 / self._config.starts_per_s
        await asyncio.sleep(self._next_start - now - 1.0 / self._config.starts_per_s)
