"""The coalescing client against actors in this process that fail on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gym_ray.resources import client as client_module
from gym_ray.resources import link as link_module
from gym_ray.resources import office
from gym_ray.resources.client import ActorResources
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage
from gym_ray.types.items import assistant_message
from tests.resources.helpers import answer, config, row
from tests.resources.local_actor import LocalActor, local_pool


@asynccontextmanager
async def connected(name: str, **settings: Any) -> AsyncIterator[tuple[ActorResources, list[LocalActor]]]:
    pool = await local_pool(config(name, **settings))
    resources = ActorResources(pool)
    try:
        yield resources, pool.actors
    finally:
        await resources.aclose()
        await asyncio.gather(*(actor.actor.aclose() for actor in pool.actors))


async def failure(work: Awaitable[Any]) -> RolloutError:
    with pytest.raises(RolloutError) as caught:
        await work
    return caught.value


async def test_a_whole_rollout() -> None:
    async with connected("Counter") as (resources, (actor,)):
        assert {"add", "fail"} <= {tool["name"] for tool in resources.tools}
        assert resources.tools[0]["name"] == "add"
        session = await resources.seed(row(3), "r")
        assert await session.call_tool("add", {"amount": 3}) == "3"
        reward = await session.verify(answer("done"))
        assert (reward.value, reward.extra) == (1.0, {"count": 3})
        assert actor.sessions == 1
        await session.close()
        await session.close()
        await asyncio.sleep(0.2)
        assert actor.sessions == 0


async def test_steps() -> None:
    async with connected("Walk") as (resources, _):
        session = await resources.seed(row(1), "r")
        assert session.observation == "at 0 of 1"
        assert (await session.step([assistant_message("go")])).terminated


async def test_errors_arrive_as_they_were_raised() -> None:
    async with connected("Counter", seed_timeout_s=0.1) as (resources, (actor,)):
        assert (await failure(resources.seed(row(-1), "r"))).reason == "ValueError: no seed"
        assert (await failure(resources.seed({"goal": "x"}, "r"))).kind == FailureKind.BAD_TASK
        session = await resources.seed(row(), "r")
        assert (await failure(session.call_tool("fail", {"how": "give up"}))).kind == "counter:broken"
        assert "KeyError" in await session.call_tool("fail", {"how": "x"})
        with pytest.raises(MaskRollout) as caught:
            await session.verify(answer("raise"))
        assert caught.value.kind == FailureKind.VERIFIER_ERROR
        good, bad = await asyncio.gather(
            session.verify(answer("fine")), failure(session.verify(answer("unpicklable"))), return_exceptions=True
        )
        assert not isinstance(good, BaseException)
        assert isinstance(bad, RolloutError)
        assert "cannot be pickled" in bad.reason
        assert actor.sessions == 1


async def test_tokens_travel_only_if_the_verifier_reads_them() -> None:
    for name, value in (("TokenReader", 3.0), ("TokenBlind", 0.0)):
        async with connected(name) as (resources, _):
            session = await resources.seed(row(), "r")
            assert (await session.verify(answer("x", tokens=True))).value == value


async def test_sessions_are_spread_and_stay_where_they_began() -> None:
    async with connected("Counter", num_actors=3) as (resources, actors):
        sessions = [await resources.seed(row(2), f"r{index}") for index in range(9)]
        assert [actor.sessions for actor in actors] == [3, 3, 3]
        for count in (1, 2):
            texts = await asyncio.gather(*(session.call_tool("add", {}) for session in sessions))
            assert texts == [str(count)] * 9
        for session in sessions[:5]:
            await session.close()
        await asyncio.sleep(0.3)
        for _ in range(5):
            await resources.seed(row(), "r")
        assert [actor.sessions for actor in actors] == [3, 3, 3]


async def test_two_hundred_rollouts_share_a_few_calls() -> None:
    async with connected("Counter") as (resources, (actor,)):

        async def rollout(index: int) -> float:
            session = await resources.seed(row(3), f"r{index}")
            for _ in range(3):
                await session.call_tool("add", {})
            reward = await session.verify(answer("done"))
            await session.close()
            return reward.value

        assert await asyncio.gather(*map(rollout, range(200))) == [1.0] * 200
        assert resources.exchanges < 40  # of 1200 operations
        assert actor.calls < 40


async def test_a_slow_tool_holds_up_nobody() -> None:
    async with connected("Counter") as (resources, _):
        slow, quick = await resources.seed(row(), "slow"), await resources.seed(row(), "quick")
        waiting = asyncio.create_task(slow.call_tool("sleep", {"seconds": 2.5}))
        await asyncio.sleep(0.1)
        for _ in range(5):
            await quick.call_tool("add", {})
        assert not waiting.done()
        calls = resources.exchanges
        assert await waiting == "slept"
        assert resources.exchanges - calls < 8  # waiting costs about a call per second


async def test_a_tool_that_never_returns_is_answered_at_its_deadline() -> None:
    async with connected("Counter", tool_timeout_s=0.2) as (resources, _):
        session = await resources.seed(row(), "r")
        assert "did not answer within 0.2 s" in await session.call_tool("sleep", {"seconds": 3600})
        assert await session.call_tool("add", {}) == "1"


async def test_a_restarted_actor_is_not_taken_for_the_old_one() -> None:
    async with connected("Counter") as (resources, (actor,)):
        old = await resources.seed(row(), "r")
        actor.replace()
        lost = await failure(old.call_tool("add", {}))
        assert (lost.kind, lost.stage, lost.terminal) == (FailureKind.SESSION_LOST, Stage.TOOL, False)
        new = await resources.seed(row(), "r")
        assert (await failure(old.verify(answer("x")))).stage is Stage.VERIFY
        assert await new.call_tool("add", {}) == "1"
        await old.close()
        await asyncio.sleep(0.2)
        assert actor.sessions == 1


async def test_everything_under_way_fails_at_once_when_an_actor_dies() -> None:
    async with connected("Counter", num_actors=2) as (resources, actors):
        sessions = [await resources.seed(row(), f"r{index}") for index in range(8)]
        work = [asyncio.create_task(session.call_tool("sleep", {"seconds": 1.5})) for session in sessions]
        ended: list[asyncio.Task[str]] = []
        for task in work:
            task.add_done_callback(ended.append)
        await asyncio.sleep(0.1)
        actors[0].replace()
        await asyncio.wait(work)
        assert all(isinstance(task.exception(), RolloutError) for task in ended[:4])
        assert [task.result() for task in ended[4:]] == ["slept"] * 4


async def test_seeds_wait_for_an_actor_that_restarts() -> None:
    async with connected("Counter") as (resources, (actor,)):
        old = await resources.seed(row(), "r")
        actor.fault = "down"
        await failure(old.call_tool("add", {}))
        seeding = asyncio.create_task(resources.seed(row(), "r"))
        await asyncio.sleep(0.3)
        assert not seeding.done()
        actor.fault = ""
        assert await (await asyncio.wait_for(seeding, 30)).call_tool("add", {}) == "1"


async def test_dead_for_good() -> None:
    async with connected("Counter", num_actors=2) as (resources, actors):
        sessions = [await resources.seed(row(), "r") for _ in range(2)]
        actors[0].fault = "dead"
        await asyncio.gather(*(session.call_tool("add", {}) for session in sessions), return_exceptions=True)
        assert await (await resources.seed(row(), "r")).call_tool("add", {}) == "1"
        assert actors[1].sessions == 2
        actors[1].fault = "dead"
        assert (await failure(resources.seed(row(), "r"))).kind == FailureKind.SESSION_LOST
        assert "dead for good" in (await failure(resources.seed(row(), "r"))).reason


async def test_a_silent_actor_is_lost_and_shunned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "STALL_S", 0.5)
    monkeypatch.setattr(link_module, "TICK_S", 0.1)
    async with connected("Counter", num_actors=2) as (resources, actors):
        sessions = [await resources.seed(row(), "r") for _ in range(2)]
        actors[0].fault = "hang"
        results = await asyncio.gather(*(session.call_tool("add", {}) for session in sessions), return_exceptions=True)
        lost = [result for result in results if isinstance(result, RolloutError)]
        assert [error.kind for error in lost] == [FailureKind.SESSION_LOST]
        for _ in range(3):
            await resources.seed(row(), "r")
        assert actors[1].sessions == 4


async def test_a_lost_answer_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MARGIN_S", 0.1)
    monkeypatch.setattr(link_module, "TICK_S", 0.1)
    async with connected("Counter", tool_timeout_s=0.2) as (resources, (actor,)):
        session = await resources.seed(row(), "r")
        actor.fault = "drop"
        late = await failure(session.call_tool("add", {}))
        assert (late.kind, late.stage, late.terminal) == (FailureKind.TRANSPORT_TIMEOUT, Stage.TOOL, False)
        actor.fault = ""
        assert await session.call_tool("add", {}) == "2"


async def test_a_cancelled_rollout_ends_its_tool_in_the_actor(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with connected("Counter", options={"log": str(log)}) as (resources, (actor,)):
        session = await resources.seed(row(), "r")
        tool = asyncio.create_task(session.call_tool("sleep", {"seconds": 3600}))
        await asyncio.sleep(0.1)
        tool.cancel()
        await session.close()
        await asyncio.sleep(0.3)
        assert actor.sessions == 0
        assert log.read_text() == "0\n"


async def test_a_cancelled_seed_leaves_no_session() -> None:
    async with connected("Counter", max_sessions=1) as (resources, (actor,)):
        seeding = asyncio.create_task(resources.seed(row(-2), "r"))
        await asyncio.sleep(0.1)
        seeding.cancel()
        await asyncio.wait_for(resources.seed(row(), "r"), 30)
        assert actor.sessions == 1


async def test_more_sessions_wait_in_the_actor() -> None:
    async with connected("Counter", max_sessions=2) as (resources, (actor,)):
        first, _ = [await resources.seed(row(), "r") for _ in range(2)]
        third = asyncio.create_task(resources.seed(row(), "r"))
        await asyncio.sleep(0.1)
        assert not third.done()
        await first.close()
        await asyncio.wait_for(third, 30)
        assert actor.sessions == 2


async def test_sessions_of_a_dead_client_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office, "SILENCE_S", 0.4)
    monkeypatch.setattr(link_module, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(link_module, "TICK_S", 0.05)
    async with connected("Counter") as (resources, (actor,)):
        session = await resources.seed(row(), "r")
        await asyncio.sleep(0.8)
        assert await session.call_tool("add", {}) == "1"
        monkeypatch.setattr(link_module, "HEARTBEAT_S", 3600)
        await asyncio.sleep(0.8)
        assert actor.sessions == 0
        assert (await failure(session.call_tool("add", {}))).kind == FailureKind.SESSION_LOST


async def test_group_verdicts_outlive_an_actor() -> None:
    async with connected("Group", num_actors=2) as (resources, actors):
        rewards = await resources.verify_group(row(), [answer("long"), answer("x")])
        assert [reward.value for reward in rewards] == [1.0, 0.0]
        for actor in actors:
            actor.replace()
        rewards = await resources.verify_group(row(), [answer("x"), answer("long")])
        assert [reward.value for reward in rewards] == [0.0, 1.0]


async def test_closing_tells_the_actor(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with connected("Counter", options={"log": str(log)}) as (resources, (actor,)):
        session = await resources.seed(row(), "r")
        await session.close()
        await resources.aclose()
        assert actor.sessions == 0
        assert log.read_text() == "0\n"
