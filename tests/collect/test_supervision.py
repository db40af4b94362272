"""Lanes, tallies, the board's arithmetic and the watchdog: the pure parts of supervision."""

from __future__ import annotations

import asyncio

from gym_ray.collect.board import Board
from gym_ray.collect.config import CollectConfig
from gym_ray.collect.lanes import Boarding, Lanes
from gym_ray.collect.pipeline import block_tasks, concurrent_blocks
from gym_ray.collect.progress import Rates
from gym_ray.collect.tally import EnvironmentTally, Oldest, Tally
from gym_ray.collect.watchdog import Watchdog


async def test_suspects_take_more_air_with_each_death_until_they_fly_alone() -> None:
    lanes = Lanes(1024)
    assert [lanes.weight(deaths) for deaths in range(2, 7)] == [8, 64, 512, 1024, 1024]
    assert [lanes.alone(deaths) for deaths in range(7)] == [False] * 5 + [True] * 2
    assert lanes.of(0) is lanes.of(1)
    lone, few = lanes.of(5), lanes.of(2)
    await lone.acquire()
    waiting = [asyncio.ensure_future(few.acquire()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting), "no suspect flies beside one that is alone"
    await lanes.of(0).acquire()  # ordinary rollouts do
    waiting[0].cancel()
    await asyncio.sleep(0)
    lone.release()
    await asyncio.wait_for(waiting[1], 30)
    alone_again = asyncio.ensure_future(lone.acquire())
    await asyncio.sleep(0)
    assert not alone_again.done()
    few.release()
    await asyncio.wait_for(alone_again, 30)


def tally(scored: int, in_flight: int, *oldest: Oldest) -> Tally:
    return Tally({"env": EnvironmentTally(scored=scored, reward=scored / 2)}, in_flight=in_flight, oldest=list(oldest))


def test_the_board_keeps_a_dead_incarnations_counts_but_not_its_flights() -> None:
    board = Board()
    board.report("w", "1", tally(10, 5, Oldest("a-0", "model", 9.0, "w")))
    board.report("w", "1", tally(12, 6))
    assert not board.report("w", "2", tally(3, 4, Oldest("b-0", "seed", 1.0, "w")))
    total = board.read()
    assert total.finished == 15
    assert total.in_flight == 4
    assert [flight.rollout_id for flight in total.oldest] == ["b-0"]
    assert total.environments["env"].mean_reward == 0.5
    board.stop()
    assert board.report("w", "2", tally(3, 4))


def test_the_watchdog_speaks_only_when_nothing_finishes() -> None:
    watchdog = Watchdog(60)
    assert watchdog.look(0, tally(1, 5)) is None
    assert watchdog.look(59, tally(1, 5)) is None
    report = watchdog.look(61, tally(1, 5, Oldest("env/a/0", "verify", 61.0, "worker-id")))
    assert report is not None
    assert "env/a/0: in verify for 61 s" in report
    assert watchdog.look(62, tally(1, 5)) is None
    assert watchdog.look(122, tally(2, 5)) is None


def test_rates_are_means_over_the_window() -> None:
    rates = Rates()
    assert rates.update(0.0, 0, 0) == (0.0, 0.0)
    assert rates.update(10.0, 50, 1000) == (5.0, 100.0)
    assert rates.update(100.0, 140, 1900) == (1.0, 10.0)  # the start has left the window


def test_blocks_hold_whole_groups_and_feed_every_worker() -> None:
    assert block_tasks(CollectConfig(rollouts_per_task=8), 10_000) == 8
    assert block_tasks(CollectConfig(rollouts_per_task=128), 10_000) == 1
    assert block_tasks(CollectConfig(rollouts_per_task=1, num_agents=2), 16) == 2
    assert block_tasks(CollectConfig(block_rollouts=256), 10_000) == 256
    assert block_tasks(CollectConfig(rollouts_per_task=8, in_flight=2048), 10_000) == 16, (
        "rollouts at hand: eight times those in flight"
    )
    assert concurrent_blocks(CollectConfig(in_flight=256), 64) == 32
    assert concurrent_blocks(CollectConfig(in_flight=1024), 64) == 128
    assert concurrent_blocks(CollectConfig(in_flight=4096), 8) == 128
    assert concurrent_blocks(CollectConfig(in_flight=1), 64) == 4
    assert concurrent_blocks(CollectConfig(in_flight=256, max_agents=2), 64) == 8, "the rest is for those who may come"
    assert block_tasks(CollectConfig(rollouts_per_task=1, max_agents=2), 16) == 2


async def test_blocks_begin_in_order_and_keep_the_air_full() -> None:
    boarding, begun = Boarding(100), list[int]()

    async def enter(block: int) -> None:
        await boarding.enter(64)
        begun.append(block)

    blocks = [asyncio.ensure_future(enter(block)) for block in range(4)]
    await asyncio.sleep(0)
    assert begun == [0, 1], "64 rollouts are fewer than 100, 128 are not"
    for left in range(127, 99, -1):
        boarding.leave()
        await asyncio.sleep(0)
        assert begun == [0, 1], f"{left} are still in the air"
    boarding.leave()
    await asyncio.sleep(0)
    assert begun == [0, 1, 2], "99 left"
    for _ in range(64):
        boarding.leave()
    await asyncio.wait_for(blocks[3], 30)
