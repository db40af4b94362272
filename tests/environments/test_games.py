"""Puzzles and games: their files, their generators, and experts that play what was generated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gym_ray.environments import catalog
from gym_ray.environments.blackjack.generate import best_play
from gym_ray.environments.generate import Difficulty
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.contract import check, load_golden
from gym_ray.resources.host import Host
from gym_ray.types.errors import UserError
from gym_ray.types.outcome import Reward
from gym_ray.types.trajectory import Trajectory
from tests.environments.play import play
from tests.environments.support import rows_of

SERVERS = {
    "arc_agi": "gym_ray.environments.arc_agi:ArcAgi",
    "blackjack": "gym_ray.environments.blackjack:Blackjack",
    "reasoning_gym": "gym_ray.environments.reasoning_gym:ReasoningGym",
    "sokoban": "gym_ray.environments.sokoban:Sokoban",
    "wordle": "gym_ray.environments.wordle:Wordle",
}
LEVELS = [(name, level) for name in SERVERS for level in Difficulty]
COUNT = 40


@pytest.mark.parametrize("name", SERVERS)
async def test_contract(name: str) -> None:
    examples, golden = rows_of(catalog.examples_path(name)), load_golden(catalog.golden_path(name))
    results = await check(SERVERS[name], examples, golden)
    assert all(result.passed for result in results if result.name != "event loop"), results
    assert len(examples) >= 5
    assert len({row["task_id"] for row in examples}) == len(examples)
    assert {row["environment"] for row in examples} == {name}
    assert len(golden) >= 15
    card = catalog.card_path(name).read_text(encoding="utf-8")
    for word in ("Apache-2.0", "| field", "NeMo Gym", "**Reward**", "**Masked**"):
        assert word in card


@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_same_arguments_same_rows(name: str, level: Difficulty) -> None:
    generate = catalog.generator(name)
    rows = list(generate(COUNT, 1, level))
    assert json.loads(json.dumps(rows)) == json.loads(json.dumps(list(generate(COUNT, 1, level.value))))
    assert rows[:7] == list(generate(7, 1, level))
    assert [_task(row) for row in rows] != [_task(row) for row in generate(COUNT, 2, level)]
    assert len({_task(row) for row in rows}) == len({row["task_id"] for row in rows}) == COUNT
    assert all(row["environment"] == name for row in rows)


def _task(row: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in row.items() if key != "task_id"}, sort_keys=True)


@pytest.mark.parametrize(("name", "level"), [(name, level) for name, level in LEVELS if name != "reasoning_gym"])
async def test_the_expert_gets_the_best_reward(name: str, level: Difficulty) -> None:
    solve = catalog.solver(name)
    for row in catalog.generator(name)(COUNT, 5, level):
        turns = solve(row)
        reward, _ = await (_graded if name == "arc_agi" else play)(SERVERS[name], row, turns)
        assert reward.value == pytest.approx(_best(name, row, len(turns))), row


async def _graded(server: str, row: dict[str, Any], turns: list[Any]) -> tuple[Reward, Trajectory]:
    session = await Host("graded", EnvironmentConfig(server=server)).seed(row, "0")
    trajectory = Trajectory.of_items([item for turn in turns for item in turn])
    return await session.verify(trajectory), trajectory


def _best(name: str, row: dict[str, Any], turns: int) -> float:
    if name == "blackjack":
        return best_play(row["seed"])[0]
    if name == "sokoban":
        return 10 + row["num_boxes"] - 0.1 * turns
    return 1.0 if name == "arc_agi" else 2.0 - 0.2 * (max(turns, 2) - 1)


@pytest.mark.parametrize("level", [Difficulty.EASY, Difficulty.MEDIUM])
def test_chosen_hands_can_be_won(level: Difficulty) -> None:
    assert all(best_play(row["seed"])[0] == 1.0 for row in catalog.generator("blackjack")(COUNT, 9, level))


def test_hands_as_they_fall_are_not_chosen() -> None:
    assert {best_play(row["seed"])[0] for row in catalog.generator("blackjack")(200, 9, "hard")} >= {1.0, -1.0}


def test_words_run_out() -> None:
    with pytest.raises(UserError, match="distinct tasks"):
        list(catalog.generator("wordle")(2000, 0, "easy"))
