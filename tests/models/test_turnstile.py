"""A crowd passes in order, a few per turn of the loop; timers run in between."""

import asyncio
import time

from gym_ray.models.turnstile import PER_TURN, Turnstile

WORK_S = 0.0002


async def work(turnstile: Turnstile | None, number: int, done: list[int]) -> None:
    """Some computation behind the turnstile."""
    if turnstile is not None and not turnstile.try_pass():
        await turnstile.wait()
    end = time.thread_time() + WORK_S
    while time.thread_time() < end:
        pass
    done.append(number)


async def worst_turn_s(turnstile: Turnstile | None) -> tuple[float, list[int]]:
    """The most CPU time between two beats of a 1 ms clock while 1,000 coroutines work, and their order."""
    done: list[int] = []
    crowd = asyncio.gather(*(work(turnstile, number, done) for number in range(1000)))
    worst = 0.0
    while not crowd.done():
        used = time.thread_time()
        await asyncio.sleep(0.001)
        worst = max(worst, time.thread_time() - used)
    return worst, done


async def test_a_crowd_is_spread_over_turns() -> None:
    crowded, _ = await worst_turn_s(None)
    spread, order = await worst_turn_s(Turnstile())
    assert crowded > 1000 * WORK_S
    assert spread < 8 * PER_TURN * WORK_S
    assert order == list(range(1000))


async def test_those_who_give_up_hold_nobody_back() -> None:
    turnstile, done = Turnstile(), list[int]()
    tasks = [asyncio.ensure_future(work(turnstile, number, done)) for number in range(5 * PER_TURN)]
    await asyncio.sleep(0)
    for task in tasks[PER_TURN : 4 * PER_TURN]:
        task.cancel()
    await asyncio.wait(tasks, timeout=5)
    assert done == [*range(PER_TURN), *range(4 * PER_TURN, 5 * PER_TURN)]
    assert turnstile.try_pass()
