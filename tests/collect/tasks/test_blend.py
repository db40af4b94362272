"""Blends: shares and order, group sizes and limits of each environment, and what a resumed run may change."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_ray import ResourcesServer, TaskRow
from gym_ray.collect.config import RunConfig
from gym_ray.collect.fingerprint import check_resumable, write_config
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.tasks.plan import Plan, write_plan
from gym_ray.collect.tasks.turns import take_turns
from gym_ray.types.errors import UserError
from tests.collect.tasks.test_plan import Case


class Quiz(ResourcesServer):
    class Task(TaskRow):
        pass


class Blend:
    """Environments with a file each: ``blend(a=(3, {"weight": 2}), b=(5, {}))`` has three rows of a."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, RunDir.create(str(folder / "run"))

    def config(self, order: str = "weighted", rollouts: int = 1, **envs: tuple[int, dict[str, Any]]) -> RunConfig:
        environments = {}
        for name, (rows, settings) in envs.items():
            path = self.folder / f"{name}.jsonl"
            lines = ({"id": number, "responses_create_params": {"input": f"{name}{number}"}} for number in range(rows))
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            environments[name] = {"server": "unused:Quiz", "tasks": str(path), **settings}
        return RunConfig.model_validate(
            {
                "run_dir": self.run.address,
                "envs": environments,
                "tasks": {"order": order},
                "collect": {"rollouts_per_task": rollouts},
            }
        )

    def plan(self, **settings: Any) -> Plan:
        config = self.config(**settings)
        return write_plan(self.run, config, dict.fromkeys(config.envs, Quiz))

    def order(self) -> list[str]:
        case = Case.__new__(Case)
        case.run = self.run
        return [f"{row['environment']}{row['task_id']}" for row in case.rows()]


@pytest.fixture
def blend(tmp_path: Path) -> Blend:
    return Blend(tmp_path)


def test_weights_are_shares_at_any_point(blend: Blend) -> None:
    blend.plan(a=(60, {"weight": 3}), b=(20, {"weight": 1}))
    order = blend.order()
    for size in range(4, 80):
        assert abs(sum(name[0] == "a" for name in order[:size]) - 0.75 * size) <= 1
    assert [name for name in order if name[0] == "b"] == [f"b{number}" for number in range(20)]


def test_files_keep_their_order(blend: Blend) -> None:
    blend.plan(order="files", a=(2, {"weight": 9}), b=(2, {}))
    assert blend.order() == ["a0", "a1", "b0", "b1"]


def test_each_environment_has_its_own_group_size_and_limit(blend: Blend) -> None:
    plan = blend.plan(rollouts=2, a=(3, {"rollouts_per_task": 8}), b=(9, {"limit": 4}), c=(1, {"limit": 0}))
    counts = {name: (its.tasks, its.rollouts) for name, its in plan.environments.items()}
    assert counts == {"a": (3, 24), "b": (4, 8), "c": (0, 0)}
    assert plan.rollouts == 32


def test_a_blend_grows_at_its_end(blend: Blend) -> None:
    blend.plan(a=(4, {"weight": 2}), b=(3, {}))
    before = blend.order()
    plan = blend.plan(a=(6, {"weight": 2, "rollouts_per_task": 3}), b=(3, {}), c=(2, {"weight": 5}))
    assert blend.order()[: len(before)] == before
    assert {name: its.rollouts for name, its in plan.environments.items()} == {"a": 18, "b": 3, "c": 2}
    keys: Counter[tuple[str, int]] = Counter()
    case = Case.__new__(Case)
    case.run = blend.run
    for environment, task, index in Case.keys(case):
        keys[environment + task, index] += 1
    assert set(keys.values()) == {1}
    assert len(keys) == plan.rollouts


def test_what_may_not_change(blend: Blend) -> None:
    blend.plan(a=(2, {"rollouts_per_task": 4}), b=(2, {}))
    with pytest.raises(UserError, match=r"planned 4 and cannot shrink to 1 \(a\)"):
        blend.plan(a=(2, {}), b=(2, {}))
    with pytest.raises(UserError, match=r"tasks\.order: this run was planned with weighted"):
        blend.plan(order="files", a=(2, {"rollouts_per_task": 4}), b=(2, {}))


def test_a_resumed_run_may_change_bounds_but_no_weights(blend: Blend) -> None:
    def settings(**own: Any) -> dict[str, Any]:
        return blend.config(a=(1, {"rollouts_per_task": 2, **own})).model_dump(mode="json")

    write_config(blend.run, settings())
    assert check_resumable(blend.run, settings(in_flight=3, limit=7, max_failed_fraction=0.5, rollouts_per_task=4))
    for other in ({"weight": 2}, {"rollouts_per_task": 1}, {"agent": {"max_turns": 3}}, {"sampling": {"top_p": 0.5}}):
        with pytest.raises(UserError, match=r"envs\.a\."):
            check_resumable(blend.run, settings(**other))


def test_shared_files_cannot_take_turns(blend: Blend) -> None:
    config = blend.config(a=(1, {}), b=(1, {}))
    shared = config.tasks.model_copy(update={"path": config.envs["a"].tasks})
    with pytest.raises(UserError, match=r"tasks\.order=weighted: the rows of .*a\.jsonl"):
        write_plan(blend.run, config.model_copy(update={"tasks": shared}), dict.fromkeys(config.envs, Quiz))


def test_an_environment_may_have_settings_of_its_own(blend: Blend) -> None:
    config = blend.config(a=(1, {"agent": {"max_turns": 3}, "sampling": {"temperature": 0.5}}), b=(1, {}), rollouts=4)
    assert (config.agent_of("a").max_turns, config.agent_of("b").max_turns) == (3, 50)
    assert (config.model_of("a").sampling, config.model_of("b").sampling) == ({"temperature": 0.5}, {})
    with pytest.raises(ValueError, match=r"envs\.a\.agent\.max_turn"):
        blend.config(a=(1, {"agent": {"max_turn": 3}}))


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0.1, 10)), min_size=1, max_size=5))
def test_turns_keep_order_and_lose_nothing(sizes: list[tuple[int, float]]) -> None:
    streams = {str(place): [(place, number) for number in range(size)] for place, (size, _) in enumerate(sizes)}
    taken = list(take_turns(streams, {str(place): weight for place, (_, weight) in enumerate(sizes)}))
    assert sorted(taken) == sorted(row for rows in streams.values() for row in rows)
    for place in range(len(sizes)):
        assert [row for row in taken if row[0] == place] == streams[str(place)]
