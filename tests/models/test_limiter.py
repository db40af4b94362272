"""The adaptive limit as a state machine, and the gate's fairness."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gym_ray.models.limiter import CAP, FLOOR, QUIET_S, START, AdaptiveLimit, FixedLimit, Gate

events = st.one_of(
    st.tuples(st.just("clean"), st.floats(0.0, 1.5)),
    st.tuples(st.just("overload"), st.one_of(st.none(), st.floats(0.0, 120.0))),
    st.tuples(st.just("wait"), st.floats(0.0, 40.0)),
)


def round_of(limit: AdaptiveLimit, in_flight: int) -> None:
    for _ in range(max(limit.limit, 4)):
        limit.clean(in_flight)


@given(st.lists(events, max_size=300), st.integers(FLOOR, CAP))
def test_stays_within_bounds_and_cuts_at_most_once_per_quiet_time(script: list, start: int) -> None:
    limit, now, last_cut, asked, cut_to = AdaptiveLimit(start), 0.0, None, 0.0, CAP
    for kind, value in script:
        before = limit.limit
        if kind == "wait":
            now += value
        elif kind == "clean":
            limit.clean(int(value * before))
            assert limit.limit >= before
            assert limit.limit <= max(before * 2, before + 1)
        else:
            limit.overloaded(now, value)
            assert limit.limit <= before
            if last_cut is not None and now < last_cut + max(QUIET_S, asked):
                assert limit.limit == min(before, cut_to), "only growth since the cut is taken back"
            else:
                assert limit.limit == max(FLOOR, int(before * 0.8))
                last_cut, asked, cut_to = now, value or 0.0, limit.limit
        assert FLOOR <= limit.limit <= CAP


def test_doubles_per_busy_round_until_the_first_cut_then_grows_by_a_twentieth() -> None:
    limit = AdaptiveLimit()
    sizes = []
    for _ in range(3):
        round_of(limit, limit.limit)
        sizes.append(limit.limit)
    assert sizes == [2 * START, 4 * START, 8 * START]
    limit.overloaded(0.0, None)
    assert limit.limit == int(8 * START * 0.8)
    before = limit.limit
    round_of(limit, before)
    assert limit.limit == before + round(before * 0.05)


def test_an_idle_round_does_not_grow() -> None:
    limit = AdaptiveLimit(100)
    round_of(limit, 79)
    assert limit.limit == 100
    round_of(limit, 80)
    assert limit.limit == 200


def test_overload_in_the_middle_of_a_round_starts_the_count_again() -> None:
    limit = AdaptiveLimit(10)
    for _ in range(9):
        limit.clean(10)
    limit.overloaded(0.0, None)
    limit.clean(10)
    assert limit.limit == 8


def test_a_cut_is_not_repeated_before_the_servers_retry_after() -> None:
    limit = AdaptiveLimit(100)
    limit.overloaded(0.0, 60.0)
    limit.overloaded(59.0, None)
    assert limit.limit == 80
    limit.overloaded(60.0, None)
    assert limit.limit == 64


def test_a_complaint_within_the_quiet_time_takes_back_growth() -> None:
    limit = AdaptiveLimit(100)
    limit.overloaded(0.0, None)
    round_of(limit, 80)
    assert limit.limit == 84
    limit.overloaded(1.0, None)
    assert limit.limit == 80


def test_recovers_from_the_floor() -> None:
    limit = AdaptiveLimit(1)
    for step in range(20):
        limit.overloaded(step * QUIET_S, None)
    assert limit.limit == FLOOR
    round_of(limit, 1)
    assert limit.limit == FLOOR + 1


@settings(deadline=None)
@given(st.integers(1, 5), st.lists(st.sampled_from(["enter", "leave", "cancel", "grow", "cut"]), max_size=60))
def test_gate_never_exceeds_and_never_forgets_anyone(room: int, script: list[str]) -> None:
    async def run() -> None:
        limit = AdaptiveLimit(room)
        gate = Gate(limit)
        inside: list[int] = []
        entered: list[int] = []
        waiting: list[tuple[int, asyncio.Task[None]]] = []
        number = 0

        async def enter(me: int) -> None:
            await gate.acquire()
            assert gate.in_flight <= limit.limit
            inside.append(me)
            entered.append(me)

        for step in script:
            if step == "enter":
                waiting.append((number, asyncio.create_task(enter(number))))
                number += 1
            elif step == "leave" and inside:
                inside.pop(0)
                gate.release()
            elif step == "cancel" and waiting:
                # Before the loop runs again: it may have been let in already, and must hand its place on.
                waiting.pop()[1].cancel()
            elif step == "grow":
                for _ in range(max(limit.limit, 4)):
                    limit.clean(limit.limit)
                gate.clean()
            elif step == "cut":
                limit.limit = max(1, limit.limit // 2)
            if step != "leave":
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        while inside:
            inside.pop(0)
            gate.release()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert gate.in_flight == 0
        assert all(task.done() for _, task in waiting)
        assert entered == sorted(entered)

    asyncio.run(run())


async def test_one_who_backs_off_leaves_when_the_limit_fell() -> None:
    limit = AdaptiveLimit(2)
    gate = Gate(limit)
    await gate.acquire()
    await gate.acquire()
    limit.limit = 1
    out = asyncio.create_task(gate.yield_if_over())
    await asyncio.sleep(0)
    assert gate.in_flight == 1
    gate.release()
    await out
    assert gate.in_flight == 1


async def test_cancelled_while_queueing_again_keeps_the_count() -> None:
    limit = AdaptiveLimit(2)
    gate = Gate(limit)
    await gate.acquire()
    await gate.acquire()
    limit.limit = 1
    out = asyncio.create_task(gate.yield_if_over())
    await asyncio.sleep(0)
    out.cancel()
    with pytest.raises(asyncio.CancelledError):
        await out
    gate.release()
    gate.release()
    assert gate.in_flight == 0
    assert gate.try_acquire()


async def test_a_fixed_limit_does_not_move() -> None:
    gate = Gate(FixedLimit(4))
    gate.overloaded(None)
    for _ in range(100):
        assert gate.try_acquire()
        gate.clean()
        gate.release()
    assert gate.limit.limit == 4
