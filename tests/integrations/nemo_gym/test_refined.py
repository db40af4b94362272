"""Corrections of proofs, by NeMo Gym's own Lean server; what it asks to compile them is a small one of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gym_ray.integrations.nemo_gym import Refined
from gym_ray.types.errors import MaskRollout
from gym_ray.types.items import assistant_message
from gym_ray.types.trajectory import Trajectory

pytestmark = pytest.mark.nemo_gym
ROW = {
    "responses_create_params": {"input": "Prove it."},
    "header": "import Mathlib\n",
    "formal_statement": "theorem one : 1 + 1 = 2 := by sorry",
}
RIGHT, WRONG = (
    "```lean4\ntheorem one : 1 + 1 = 2 := by rfl\n```",
    "```lean4\ntheorem one : 1 + 1 = 2 := by ring_nf\n```",
)


async def compiled(request: web.Request) -> web.Response:
    """Takes a proof by `rfl` for right; answers as the Lean sandbox does."""
    code = (await request.json())["generated_code"]
    right = "rfl" in code
    return web.json_response(
        {
            "process_status": "completed" if right else "failed",
            "stdout": "" if right else "error: unsolved goals",
            "stderr": "",
        }
    )


@pytest.fixture
async def server() -> AsyncIterator[Refined]:
    application = web.Application()
    application.router.add_post("/execute", compiled)
    async with TestServer(application) as sandbox:
        place = {"sandbox_host": sandbox.host, "sandbox_port": sandbox.port}
        overrides = {"math_formal_lean": {"resources_servers": {"math_formal_lean": place}}}
        yield Refined("math_formal_lean", corrections=1, overrides=overrides)


async def played(server: Refined, *answers: str) -> tuple[list[str | None], Any]:
    """What is shown after each answer, and the reward."""
    task = Refined.Task.model_validate(ROW)
    session = await server.seed(task)
    assert await server.reset(task, session) is None
    shown = []
    for answer in answers:
        result = await server.step(task, [assistant_message(answer)], session)
        shown.append(result.observation)
        assert result.terminated == (result.observation is None)
    return shown, await server.verify(task, Trajectory.of_items([]), session)


async def test_wrong_proofs_come_back(server: Refined) -> None:
    assert server.stepwise
    (prompt, end), reward = await played(server, WRONG, RIGHT)
    assert prompt is not None
    assert "unsolved goals" in prompt
    assert end is None
    assert (reward.value, reward.extra["num_answers"], reward.extra["proof_status"]) == (1.0, 2, "completed")
    (first,), reward = await played(server, RIGHT)
    assert (first, reward.value, reward.extra["num_answers"]) == (None, 1.0, 1)
    (_, last), reward = await played(server, WRONG, WRONG)
    assert (last, reward.value, reward.extra["num_answers"]) == (None, 0.0, 2)
    with pytest.raises(MaskRollout):
        await played(server)


async def test_without_its_compiler_nothing_is_scored() -> None:
    place = {"sandbox_host": "127.0.0.1", "sandbox_port": 9}
    overrides = {"math_formal_lean": {"resources_servers": {"math_formal_lean": place}}}
    with pytest.raises(MaskRollout):
        await played(Refined("math_formal_lean", overrides=overrides), RIGHT)
