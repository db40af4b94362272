"""Gymnasium's own environments, stepped by a scripted model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.contract import check
from gym_ray.resources.host import Host
from gym_ray.types.errors import UserError
from gym_ray.types.items import assistant_message
from tests.integrations.conftest import Collected, task

pytest.importorskip("gymnasium")
pytestmark = pytest.mark.integrations
SERVER = "gym_ray.integrations.gymnasium:Gymnasium"
LAKE: dict[str, Any] = {
    "id": "FrozenLake-v1",
    "actions": ["left", "down", "right", "up"],
    "kwargs": {"is_slippery": False},
}


async def stepped(options: dict[str, Any], *texts: str, seed: int = 0) -> list[Any]:
    """The first observation, then a StepResult per text."""
    host = Host("foreign", EnvironmentConfig(server=SERVER, options=options))
    session = await host.seed(task(seed=seed), "0")
    results = [await session.step([assistant_message(text)]) for text in texts]
    await session.close()
    await host.aclose()
    return [session.observation, *results]


@pytest.mark.ray
def test_collected(collected: Collected) -> None:
    rows = collected(SERVER, LAKE, [task(seed=seed) for seed in range(3)], "cross_the_lake")
    assert [row["reward"] for row in rows] == [1.0] * 6
    assert {row["unreadable"] for row in rows} == {1}
    assert {row["gym_ray"]["finish_reason"] for row in rows} == {"terminated"}
    assert {tuple(row["gym_ray"]["step_rewards"]) for row in rows} == {(0.0,) * 6 + (1.0,)}


async def test_a_picture_without_colours() -> None:
    first, down = await stepped(LAKE, "down")
    assert first.startswith("0\n[S]FFF\nFHFH")
    assert first.endswith("ACTION is one of left, down, right, up.")
    assert down.observation.startswith("4\n")
    assert "[F]HFH" in down.observation


async def test_numbers_as_observations_and_actions() -> None:
    first, step = await stepped({"id": "CartPole-v1"}, "1")
    assert first.startswith("[")
    assert (step.reward, step.terminated) == (1.0, False)
    first, step, outside = await stepped({"id": "Pendulum-v1"}, "[0.5]", "[9]")
    assert step.reward < 0
    assert outside.reward == 0
    assert outside.observation.startswith("'[9]' is no action")


async def test_the_seed_decides_the_start() -> None:
    starts = [(await stepped({"id": "CartPole-v1"}, seed=seed))[0] for seed in (1, 1, 2)]
    assert starts[0] == starts[1] != starts[2]


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "1e999", "NaN", "{}", "9" * 5000, "<action>" * 9999, "\ud800", "true"]
)
@pytest.mark.parametrize("id", ["FrozenLake-v1", "Pendulum-v1"])
async def test_any_text_is_answered(id: str, text: str) -> None:
    (_, result) = await asyncio.wait_for(stepped({"id": id}, text), 20)
    assert "is no action" in result.observation


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"id": "FrozenLak-v1"}, "FrozenLake"),
        ({"id": "CartPole-v1", "actions": ["left"]}, "1 names do not fit"),
        ({"id": "CartPole-v1", "kwargs": {"size": 3}}, "size"),
        ({"id": "CartPole-v1", "modules": ["no_such_module"]}, "no_such_module"),
    ],
)
def test_mistakes_in_options(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        Host("foreign", EnvironmentConfig(server=SERVER, options=options))


async def test_contract() -> None:
    results = await check(SERVER, [task(seed=seed) for seed in range(3)], [], LAKE)
    assert all(result.passed for result in results if result.name not in ("golden", "event loop")), results
