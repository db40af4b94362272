"""One engine on its way to the desired state, without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gym_ray.models.serve import live
from gym_ray.models.serve.desired import Desired
from gym_ray.types.errors import FailureKind, RolloutError


class State:
    """The wish, in this process."""

    def __init__(self) -> None:
        self.desired = Desired()

    def read(self) -> Desired:
        return self.desired

    @asynccontextmanager
    async def directory(self, desired: Desired) -> AsyncIterator[str]:
        yield desired.path or "kept"


class Engine:
    """Notes what is done to it; ``fails`` names the step that raises."""

    def __init__(self) -> None:
        self.version, self.paused, self.done, self.fails = 0, False, list[str](), ""

    def _do(self, step: str) -> None:
        if self.fails and step.startswith(self.fails):
            raise RuntimeError(f"cannot {step}")
        self.done.append(step)

    async def pause(self, mode: live.PauseMode) -> None:
        self._do(f"pause {mode}")
        self.paused = True

    async def resume(self) -> None:
        self._do("resume")
        self.paused = False

    async def load(self, directory: str, version: int) -> None:
        assert self.paused
        self._do(f"load {directory}")
        self.version = version


@pytest.fixture
def parts() -> tuple[State, Engine, live.Follower]:
    state, engine = State(), Engine()
    follower: Any = live.Follower(engine, state, "r")  # type: ignore[arg-type]
    return state, engine, follower


Parts = tuple[State, Engine, live.Follower]


async def test_it_goes_where_the_wish_is_and_does_nothing_twice(parts: Parts) -> None:
    state, engine, follower = parts
    assert not await follower.behind()
    state.desired = Desired(3, "/w")
    assert await follower.behind()
    report = await follower.follow("wait")
    assert (report.version, report.paused, report.error) == (3, False, None)
    assert engine.done == ["pause wait", "load /w", "resume"]
    assert (await follower.follow("keep")).pause_s == 0.0
    assert engine.done == ["pause wait", "load /w", "resume"]


async def test_an_update_of_a_paused_model_leaves_it_paused(parts: Parts) -> None:
    state, engine, follower = parts
    state.desired = Desired(paused=True)
    await follower.follow("keep")
    state.desired = Desired(1, None, paused=True)
    assert (await follower.follow("abort")).paused
    assert engine.done == ["pause keep", "load kept"]
    state.desired = Desired(1, None)
    assert not (await follower.follow("keep")).paused


async def test_only_a_load_that_failed_breaks_it(parts: Parts) -> None:
    state, engine, follower = parts
    state.desired, engine.fails = Desired(1, "/w"), "pause"
    assert (await follower.follow("keep")).error == "RuntimeError: cannot pause keep"
    assert follower.broken is None
    engine.fails = "load"
    report = await follower.follow("keep")
    assert (report.paused, report.error) == (True, "RuntimeError: cannot load /w")
    assert follower.broken == report.error


async def test_a_valve_tells_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HOLD_S", 0.05)
    valve = live.Valve()
    await valve.enter()
    valve.close()
    with pytest.raises(RolloutError) as told:
        await valve.enter()
    assert (told.value.kind, told.value.terminal) == (FailureKind.MODEL_PAUSED, False)
    waiting = asyncio.create_task(valve.enter())
    await asyncio.sleep(0.01)
    valve.open()
    await waiting
