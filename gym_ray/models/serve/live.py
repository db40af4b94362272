"""A replica's side of live weights: pausing, and going where the desired state is.

Invariants: weights change only while nothing is sampled; one change at a time; an engine whose load failed
half-way is *broken*: it stays paused and unhealthy, so that it is taken off the list and replaced, and never
answers with mixed weights.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from gym_ray.models.serve.desired import Desired, DesiredState
from gym_ray.types.errors import FailureKind, RolloutError, Stage, describe

PauseMode = Literal["wait", "abort", "keep"]
"""wait: running requests end first. abort: they end now and are begun again after it. keep: they are frozen,
and go on after it with their text so far; their keys and values are computed anew by the new weights."""
HOLD_S = 5.0
"""How long a call is held by a pause before its caller is told, in seconds (who then asks again)."""


@runtime_checkable
class Live(Protocol):
    """An engine whose weights can change while it runs."""

    version: int
    """Policy version of the weights it samples with."""
    paused: bool

    async def pause(self, mode: PauseMode) -> None:
        """Stop sampling; returns once nothing is sampled any more. New calls are held."""
        ...

    async def resume(self) -> None:
        """Go on."""
        ...

    async def load(self, directory: str, version: int) -> None:
        """Replace the weights, while paused, by a checkpoint's. Nothing computed by the old ones is used again."""
        ...


def paused(reason: str) -> RolloutError:
    """A call that a pause did not let happen. Our own clients make it again."""
    return RolloutError(FailureKind.MODEL_PAUSED, Stage.MODEL, reason, terminal=False)


class Interrupted(Exception):
    """A pause ended this call in the engine."""


class Valve:
    """Holds calls while an engine is paused. Belongs to one event loop."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    @property
    def closed(self) -> bool:
        """True while calls are held."""
        return not self._open.is_set()

    def close(self) -> None:
        """Hold calls from now on."""
        self._open.clear()

    def open(self) -> None:
        """Let all of them through."""
        self._open.set()

    async def enter(self) -> None:
        """Pass, or wait until it opens.

        Raises:
            RolloutError: held for ``HOLD_S`` seconds (``model_paused``).
        """
        if self._open.is_set():
            return
        try:
            await asyncio.wait_for(self._open.wait(), HOLD_S)
        except TimeoutError:
            raise paused("the model is paused") from None


@dataclass(frozen=True)
class Followed:
    """What a replica did when told to follow: where it is, and how long it sampled nothing for it."""

    replica: str
    version: int
    paused: bool
    pause_s: float = 0.0
    error: str | None = None


class Follower:
    """Takes one engine to the desired state. ``broken``: why it cannot be used any more, or None."""

    def __init__(self, engine: Live, state: DesiredState, replica: str) -> None:
        self._engine, self._state, self._replica = engine, state, replica
        self._busy = asyncio.Lock()
        self.broken: str | None = None

    async def behind(self) -> bool:
        """True when there is somewhere to go, and nobody is on the way."""
        desired = await asyncio.to_thread(self._state.read)
        arrived = (self._engine.version, self._engine.paused) == (desired.version, desired.paused)
        return not arrived and not self._busy.locked()

    async def follow(self, mode: PauseMode = "keep") -> Followed:
        """Go to the desired state; returns once there, or broken."""
        async with self._busy:
            desired = await asyncio.to_thread(self._state.read)
            began = time.monotonic()
            try:
                changed = await self._go(desired, mode)
            except Exception as error:
                return self._report(error=describe(error))
            return self._report(pause_s=time.monotonic() - began if changed else 0.0)

    async def _go(self, desired: Desired, mode: PauseMode) -> bool:
        """Returns whether weights were loaded."""
        engine, stale = self._engine, desired.version != self._engine.version
        if (desired.paused or stale) and not engine.paused:
            await engine.pause(mode)
        if stale:
            await self._load(desired)
        if engine.paused and not desired.paused:
            await engine.resume()
        return stale

    async def _load(self, desired: Desired) -> None:
        try:
            async with self._state.directory(desired) as directory:
                await self._engine.load(directory, desired.version)
        except Exception as error:
            self.broken = describe(error)
            raise

    def _report(self, pause_s: float = 0.0, error: str | None = None) -> Followed:
        return Followed(self._replica, self._engine.version, self._engine.paused, pause_s, error)
