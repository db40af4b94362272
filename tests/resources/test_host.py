"""One environment in process: what the author's code does becomes a typed outcome."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gym_ray.resources.connect import connect, resolve_placement
from gym_ray.resources.host import Host
from gym_ray.resources.sessions import HostSession
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage, UserError
from gym_ray.types.items import assistant_message
from tests.resources.helpers import answer, config, row


@asynccontextmanager
async def hosted(name: str, **settings: Any) -> AsyncIterator[Host]:
    host = Host("env", config(name, **settings))
    try:
        yield host
    finally:
        await host.aclose()


@pytest.fixture
async def session() -> AsyncIterator[HostSession]:
    async with hosted("Counter", tool_timeout_s=0.05, verify_timeout_s=0.05) as host:
        yield await host.seed(row(2), "r")


async def test_a_whole_rollout() -> None:
    async with hosted("Counter") as host:
        assert [tool["name"] for tool in host.tools] == ["add", "structure", "fail", "sleep", "pid"]
        session = await host.seed(row(2), "r")
        assert await session.call_tool("add", {"amount": "1"}) == "1"
        assert await session.call_tool("add", {}) == "2"
        reward = await session.verify(answer("done"))
        assert (reward.value, reward.extra) == (1.0, {"count": 2})
        await session.close()
        assert len(host.sessions) == 0


async def test_tools_known_only_at_run_time() -> None:
    async with hosted("Echo") as host:
        assert [tool["name"] for tool in host.tools] == ["echo"]
        session = await host.seed(row(0), "r")
        for name in ("echo", "say_hello"):
            assert json.loads(await session.call_tool(name, {"x": 1})) == {name: {"x": 1}}
        assert "unknown tool 'verify'; the tools are: echo" in await session.call_tool("verify", {})


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("nosuch", {}, "unknown tool 'nosuch'; the tools are: add, fail, pid, sleep, structure"),
        ("add", {"amount": "many"}, "bad arguments for 'add': amount: "),
        ("add", {"amount": 1, "more": 2}, "more: "),
        ("add", [1], "bad arguments for 'add'"),
        ("structure", {}, "kind: field required"),
        ("fail", {"how": "some\nhow"}, "KeyError: "),
        ("fail", {"how": "exit"}, "SystemExit: 3"),
        ("fail", {"how": "cancelled"}, "cancelled"),
        ("fail", {"how": "timeout"}, "TimeoutError: mine"),
        ("sleep", {"seconds": 3600}, "'sleep' did not answer within 0.05 s"),
        ("structure", {"kind": "\udc80"}, "KeyError"),
    ],
)
async def test_tool_errors_are_text_for_the_model(session: HostSession, name: str, arguments: Any, said: str) -> None:
    text = await session.call_tool(name, arguments)
    assert said in json.loads(text)["error"]
    assert await session.call_tool("add", {}) == "1"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("dict", '{"a":[1,2]}'),
        ("model", '{"x":3}'),
        ("none", "null"),
        ("big", '{"n": 1180591620717411303424}'),
        ("surrogate", "?"),
    ],
)
async def test_results_that_are_no_strings(session: HostSession, kind: str, text: str) -> None:
    assert await session.call_tool("structure", {"kind": kind}) == text


async def test_a_tool_may_give_up_the_rollout(session: HostSession) -> None:
    with pytest.raises(RolloutError) as caught:
        await session.call_tool("fail", {"how": "give up"})
    assert caught.value.kind == "counter:broken"


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("raise", "verifier_error", "ZeroDivisionError: by zero"),
        ("nan", "verifier_error", "verify returned nan"),
        ("mask", "judge_failed", "no judge"),
        ("wait", "verifier_timeout", "verify did not end within 0.05 s"),
    ],
)
async def test_a_verifier_that_does_not_judge_masks(session: HostSession, text: str, kind: str, reason: str) -> None:
    with pytest.raises(MaskRollout) as caught:
        await session.verify(answer(text))
    assert (caught.value.kind, caught.value.reason) == (kind, reason)


@pytest.mark.parametrize(
    ("task", "kind", "stage", "terminal"),
    [
        (row(-1), "seed_error", Stage.SEED, True),
        (row(-2), "seed_error", Stage.SEED, False),
        ({**row(), "goal": "high"}, "bad_task", Stage.TASK, True),
        ({"goal": 1}, "bad_task", Stage.TASK, True),
    ],
)
async def test_seeds_that_fail(task: dict[str, Any], kind: str, stage: Stage, terminal: bool) -> None:
    async with hosted("Counter", seed_timeout_s=0.05, max_sessions=1) as host:
        for _ in range(2):  # the second time would wait for ever if the first had kept its place
            with pytest.raises(RolloutError) as caught:
                await host.seed(task, "r")
            assert (caught.value.kind, caught.value.stage, caught.value.terminal) == (kind, stage, terminal)
        await host.seed(row(), "r")


async def test_the_task_is_parsed_once_for_a_group() -> None:
    async with hosted("Counter") as host:
        task = row(3)
        sessions = [await host.seed(task, f"r{index}") for index in range(3)]
        assert len({id(session.row.task) for session in sessions}) == 1
        assert (await host.seed(row(4), "r")).row.task.goal == 4


async def test_concurrent_sessions_do_not_mix() -> None:
    async with hosted("Counter") as host:
        task = row(5)

        async def rollout(steps: int) -> float:
            session = await host.seed(task, "r")
            for _ in range(steps):
                await asyncio.sleep(0)
                await session.call_tool("add", {})
            return (await session.verify(answer("done"))).value

        assert await asyncio.gather(*map(rollout, range(10))) == [float(steps == 5) for steps in range(10)]


async def test_close_runs_once_whoever_asks(tmp_path: Path) -> None:
    log = tmp_path / "log"
    host = Host("env", config("Counter", options={"log": str(log)}))
    first, second = await host.seed(row(), "a"), await host.seed(row(), "b")
    await first.call_tool("add", {"amount": 7})
    await asyncio.gather(first.close(), first.close())
    await first.close()
    await host.aclose()
    await second.close()
    assert sorted(log.read_text().split()) == ["0", "7"]
    with pytest.raises(RolloutError) as caught:
        await second.call_tool("add", {})
    assert caught.value.kind == FailureKind.SESSION_LOST


async def test_a_cancelled_rollout_still_closes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with hosted("Counter", options={"log": str(log)}) as host:

        async def rollout() -> None:
            session = await host.seed(row(), "r")
            try:
                await session.call_tool("sleep", {"seconds": 60})
            finally:
                await session.close()

        task = asyncio.create_task(rollout())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log.read_text() == "0\n"
        assert len(host.sessions) == 0


async def test_an_idle_session_expires(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with hosted("Counter", session_ttl_s=0.2, options={"log": str(log)}) as host:
        idle, busy, used = [await host.seed(row(), name) for name in ("idle", "busy", "used")]
        long = asyncio.create_task(busy.call_tool("sleep", {"seconds": 0.6}))
        for _ in range(12):
            await asyncio.sleep(0.05)
            await used.call_tool("add", {})
        with pytest.raises(RolloutError) as caught:
            await idle.call_tool("add", {})
        assert (caught.value.kind, caught.value.stage) == (FailureKind.SESSION_EXPIRED, Stage.TOOL)
        assert await long == "slept"
        assert log.read_text() == "0\n"
        await idle.close()
        assert len(host.sessions) == 2


async def test_more_sessions_wait_for_a_place() -> None:
    async with hosted("Counter", max_sessions=2) as host:
        first, _ = await host.seed(row(), "1"), await host.seed(row(), "2")
        third = asyncio.create_task(host.seed(row(), "3"))
        await asyncio.sleep(0.02)
        assert not third.done()
        await first.close()
        await asyncio.wait_for(third, 30)
        assert len(host.sessions) == 2


async def test_waiting_for_a_place_has_an_end() -> None:
    async with hosted("Pure", max_sessions=1, session_ttl_s=0.1) as host:
        first = await host.seed(row(), "1")
        first.busy = 1  # never expires
        with pytest.raises(RolloutError, match="no free session"):
            await host.seed(row(), "2")


async def test_gymnasium_episodes() -> None:
    async with hosted("Walk") as host:
        assert host.gymnasium
        session = await host.seed(row(2), "r")
        assert session.observation == "at 0 of 2"
        first, second = [await session.step([assistant_message("go")]) for _ in range(2)]
        assert (first.observation, first.reward, first.terminated) == ("at 1", 1.0, False)
        assert second.terminated
        trajectory = answer("go")
        trajectory.step_rewards = [1.0, 1.0]
        assert (await session.verify(trajectory)).value == 2.0
        with pytest.raises(RolloutError) as caught:
            await session.step([assistant_message("fall")])
        assert (caught.value.kind, caught.value.reason) == ("step_error", "RuntimeError: fell")


async def test_a_failed_reset_closes_what_seed_made() -> None:
    async with hosted("Walk") as host:
        cls: Any = type(host.server)
        before = cls.closed
        with pytest.raises(RolloutError, match="no reset"):
            await host.seed(row(-1), "r")
        assert cls.closed == before + 1


async def test_group_verdicts() -> None:
    async with hosted("Group") as host:
        assert host.scores_groups
        rewards = await host.verify_group(row(), [answer("long"), answer("x")])
        assert [reward.value for reward in rewards] == [1.0, 0.0]
        with pytest.raises(MaskRollout, match="1 rewards for 2 trajectories"):
            await host.verify_group(row(), [answer("short"), answer("x")])


async def test_an_infinite_step_reward_is_no_verdict() -> None:
    async with hosted("Walk") as host:
        trajectory = answer("go")
        trajectory.step_rewards = [math.inf]
        with pytest.raises(MaskRollout, match="inf"):
            await (await host.seed(row(2), "r")).verify(trajectory)


def test_placement() -> None:
    assert resolve_placement(config("Pure")) == "inline"
    assert resolve_placement(config("Counter")) == "actor"
    assert resolve_placement(config("Pure", placement="actor")) == "actor"
    assert connect("env", config("Pure")).tools == []
    with pytest.raises(UserError):
        connect("env", config("Nothing"))
