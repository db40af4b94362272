"""Sandboxes inside Ray actors: verification, tools, and nothing left when the actor is killed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gym_ray.environments import catalog
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.connect import connect
from gym_ray.sandbox import SandboxPool
from gym_ray.types.items import assistant_message
from gym_ray.types.trajectory import Trajectory
from tests.environments.support import rows_of
from tests.sandbox.conftest import descendants

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster", "pool")]


def config(server: str) -> EnvironmentConfig:
    return EnvironmentConfig(
        server=f"gym_ray.environments.{server}", placement="actor", options={"sandbox": {"warm": 1}}
    )


async def test_programs_are_judged_in_an_actor(pool: SandboxPool) -> None:
    from gym_ray.resources.actor import start_pool

    row: dict[str, Any] = rows_of(catalog.examples_path("code_gen"))[0]
    answers = {f"```python\n{row['reference_solution']}\n```": 1.0, "```python\nprint(1)\n```": 0.0}
    actors = start_pool("code_gen", config("code_gen:CodeGen"), timeout_s=60)
    resources = connect("code_gen", actors.config, actors)

    async def judged(number: int, text: str) -> float:
        session = await resources.seed(row, f"rollout-{number}")
        try:
            return (await session.verify(Trajectory.of_items([assistant_message(text)]))).value
        finally:
            await session.close()

    try:
        texts = [*answers] * 10
        rewards = await asyncio.gather(*(judged(number, text) for number, text in enumerate(texts)))
        assert rewards == [answers[text] for text in texts]
    finally:
        await resources.aclose()
        actors.shutdown()


async def test_interpreters_live_in_an_actor_and_die_with_it() -> None:
    import ray

    from gym_ray.resources.actor import start_pool

    row = rows_of(catalog.examples_path("python_tool"))[1]
    actors = start_pool("python_tool", config("python_tool:PythonTool"), timeout_s=60)
    resources = connect("python_tool", actors.config, actors)
    try:
        session = await resources.seed(row, "rollout")
        assert await session.call_tool("stateful_python_code_exec", {"code": "x = 20"}) == ""
        assert await session.call_tool("stateful_python_code_exec", {"code": "x + 1"}) == "21"
        reward = await session.verify(Trajectory.of_items([assistant_message("\\boxed{\\frac{7381}{2520}}")]))
        assert (reward.value, reward.extra["num_tool_calls"]) == (1.0, 2)
        json.dumps(reward.extra)
        family = descendants(actors.facts.pid)
        assert len(family) >= 4  # the launcher, a sandbox with its interpreter, the verify worker
    finally:
        ray.kill(actors.actors[0])
    for _ in range(100):
        if not any(Path(f"/proc/{pid}/exe").is_symlink() for pid in family):  # noqa: ASYNC240
            return
        await asyncio.sleep(0.1)
    pytest.fail("something outlived its actor")
