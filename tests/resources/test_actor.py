"""Real Ray actors, really killed."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gym_ray.resources.client import ActorResources
from gym_ray.resources.connect import connect
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage, UserError
from tests.resources.helpers import answer, config, row

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@contextmanager
def started(name: str, **settings: Any) -> Iterator[Any]:
    from gym_ray.resources.actor import start_pool

    pool = start_pool("env", config(name, **settings), timeout_s=60)
    try:
        yield pool
    finally:
        pool.shutdown()


@asynccontextmanager
async def connected(name: str, **settings: Any) -> AsyncIterator[ActorResources]:
    with started(name, **settings) as pool:
        resources = connect("env", pool.config, pool)
        assert isinstance(resources, ActorResources)
        try:
            yield resources
        finally:
            await resources.aclose()


async def rollout(resources: Any, goal: int) -> float:
    session = await resources.seed(row(goal), "r")
    for _ in range(goal):
        await session.call_tool("add", {})
    reward = await session.verify(answer("done"))
    await session.close()
    return float(reward.value)


def dead(pid: int) -> bool:
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False


async def test_two_hundred_rollouts_share_a_few_calls() -> None:
    async with connected("Counter", num_actors=2) as resources:
        assert await asyncio.gather(*(rollout(resources, 3) for _ in range(200))) == [1.0] * 200
        assert resources.exchanges < 120  # of 1200 operations


async def test_sigkill_with_sessions_open() -> None:
    async with connected("Counter") as resources:
        sessions = [await resources.seed(row(1), f"r{index}") for index in range(4)]
        pid = int(await sessions[0].call_tool("pid", {}))
        work = [asyncio.create_task(session.call_tool("sleep", {"seconds": 60})) for session in sessions[:3]]
        await asyncio.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        results = await asyncio.wait_for(asyncio.gather(*work, return_exceptions=True), 20)
        for error in results:
            assert isinstance(error, RolloutError)
            assert (error.kind, error.stage, error.terminal) == (FailureKind.SESSION_LOST, Stage.TOOL, False)
        fresh = await asyncio.wait_for(resources.seed(row(1), "again"), 30)
        assert int(await fresh.call_tool("pid", {})) != pid
        with pytest.raises(RolloutError) as caught:
            await sessions[3].verify(answer("done"))
        assert (caught.value.kind, caught.value.stage) == (FailureKind.SESSION_LOST, Stage.VERIFY)
        assert await asyncio.gather(*(rollout(resources, 2) for _ in range(20))) == [1.0] * 20


async def test_the_death_of_one_actor_leaves_the_others_alone() -> None:
    async with connected("Counter", num_actors=3) as resources:
        sessions = [await resources.seed(row(1), f"r{index}") for index in range(9)]
        pids = await asyncio.gather(*(session.call_tool("pid", {}) for session in sessions))
        assert sorted(pids.count(pid) for pid in set(pids)) == [3, 3, 3]
        assert await asyncio.gather(*(session.call_tool("pid", {}) for session in sessions)) == pids
        os.kill(int(pids[0]), signal.SIGKILL)
        after = await asyncio.gather(*(session.call_tool("pid", {}) for session in sessions), return_exceptions=True)
        for pid, result in zip(pids, after, strict=True):
            assert isinstance(result, RolloutError) if pid == pids[0] else result == pid
        assert await asyncio.gather(*(rollout(resources, 2) for _ in range(20))) == [1.0] * 20


async def test_cpu_bound_verifiers_crash_and_hang_in_their_own_processes() -> None:
    async with connected("Crasher", verify_timeout_s=0.5) as resources:
        session = await resources.seed(row(), "r")
        faults = {"segfault": "verifier_crashed", "loop": "verifier_timeout", "raise x": "verifier_error"}
        for text, kind in faults.items():
            with pytest.raises(MaskRollout) as caught:
                await session.verify(answer(text))
            assert caught.value.kind == kind
        worker = (await session.verify(answer("fine"))).extra["pid"]
    assert dead(worker)


async def test_an_agent_process_with_a_loop_of_its_own() -> None:
    import ray

    with started("Counter") as pool:
        agent = ray.remote(LoopThread).options(num_cpus=0.1).remote()
        rewards, exchanges = ray.get(agent.rollouts.remote(pool, 100), timeout=60)
        assert rewards == [1.0] * 100
        assert exchanges < 60
        ray.kill(agent)


class LoopThread:
    """As an agent worker does it: a synchronous actor, all its rollouts on the loop of a private thread."""

    def rollouts(self, pool: Any, count: int) -> tuple[list[float], int]:
        import uvloop

        loop = uvloop.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()

        def run(work: Coroutine[Any, Any, Any]) -> Any:
            return asyncio.run_coroutine_threadsafe(work, loop).result()

        async def all_of_them() -> list[float]:
            return await asyncio.gather(*(rollout(resources, 2) for _ in range(count)))

        resources: Any = connect("env", pool.config, pool)
        rewards = run(all_of_them())
        run(resources.aclose())
        return rewards, resources.exchanges


async def test_a_pool_is_picklable_and_shuts_down() -> None:
    with started("Counter", num_actors=2) as pool:
        copy = pickle.loads(pickle.dumps(pool))
        resources = ActorResources(copy)
        sessions = [await resources.seed(row(), "r") for _ in range(2)]
        pids = [int(await session.call_tool("pid", {})) for session in sessions]
        await resources.aclose()
    assert all(map(dead, pids))


def test_mistakes_are_told_to_the_user() -> None:
    with pytest.raises(UserError, match="did you mean `Counter`"), started("Conter"):
        pass
    with pytest.raises(UserError, match="colour"), started("Counter", options={"colour": "red"}):
        pass


def test_actors_that_the_cluster_cannot_place() -> None:
    from gym_ray.resources.actor import start_pool

    for settings in ({"resources": {"sandbox": 1.0}}, {"labels": {"role": "env"}}):
        with pytest.raises(UserError, match=r"not ready after 2 s.*(sandbox|role)"):
            start_pool("env", config("Counter", **settings), timeout_s=2)


async def test_it_is_up_within_a_moment() -> None:
    with started("Counter"):
        pass  # the workers' first imports are paid here
    began = time.monotonic()
    async with connected("Counter") as resources:
        await resources.seed(row(), "r")
        assert time.monotonic() - began < 10
