"""Author code under a deadline, in the caller's task."""

from __future__ import annotations

import asyncio
import time

import pytest

from gym_ray.resources.deadline import DeadlineExceeded, Interrupted, within


async def echo(value: int, wait: float = 0.0) -> int:
    if wait:
        await asyncio.sleep(wait)
    return value


async def test_results_with_and_without_waiting() -> None:
    assert await within(1, echo(1)) == 1
    assert await within(1, echo(2, 0.001)) == 2
    assert await within(None, echo(3, 0.001)) == 3


async def test_it_runs_in_the_callers_task() -> None:
    async def task() -> asyncio.Task[object] | None:
        async with asyncio.timeout(1):
            await asyncio.sleep(0)
            return asyncio.current_task()

    assert await within(1, task()) is asyncio.current_task()


async def test_exceptions_pass_before_and_after_the_first_wait() -> None:
    async def fail(wait: float) -> None:
        await echo(1, wait)
        raise TimeoutError("mine")

    for wait in (0.0, 0.001):
        with pytest.raises(TimeoutError, match="mine"):
            await within(1, fail(wait))


async def test_the_deadline_cancels() -> None:
    cleaned = []

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await within(0.02, hang())
    assert cleaned == [True]
    assert time.monotonic() - began < 30


async def test_cancelling_the_caller_is_no_interruption() -> None:
    task = asyncio.create_task(within(60, echo(1, 60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("wait", [0.0, 0.001])
async def test_a_stray_cancellation_is_told_apart(wait: float) -> None:
    async def stray() -> None:
        await echo(1, wait)
        raise asyncio.CancelledError

    with pytest.raises(Interrupted):
        await within(1, stray())
