"""Running an author's coroutine under a deadline, in the caller's own task.

Most environment code never suspends, so the coroutine is first run as far as it goes; only one that waits
pays for a timer (0.3 us instead of 3.7 us). No task is made: cancelling the caller cancels the coroutine.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlineExceeded(Exception):
    """The coroutine was cancelled at its deadline (a ``TimeoutError`` of its own is something else)."""


class Interrupted(Exception):
    """The coroutine ended as cancelled although nobody cancelled its task."""


async def within(seconds: float | None, coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result.

    Raises:
        DeadlineExceeded: it still waited after ``seconds`` (None: no deadline).
        Interrupted: it let a ``CancelledError`` of something it awaited escape.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    except asyncio.CancelledError:
        raise Interrupted("something it awaited was cancelled") from None
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        async with asyncio.timeout(seconds) as scope:
            return await _resume(coroutine, waits_for)
    except TimeoutError:
        if scope.expired():
            raise DeadlineExceeded from None
        raise
    except asyncio.CancelledError:
        if task.cancelling() > before:
            raise
        raise Interrupted("something it awaited was cancelled") from None


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """``await`` for a coroutine that has already run up to its first suspension."""
    try:
        while True:
            try:
                value = yield waits_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                waits_for = coroutine.throw(error)
            else:
                waits_for = coroutine.send(value)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
