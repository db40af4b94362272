"""A run verified again, end to end: the same rewards by the same verifiers, the intended diff by changed ones."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gym_ray.cli.main import main
from gym_ray.environments import catalog
from gym_ray.runs.groups import read_groups
from gym_ray.types.errors import FailureKind
from gym_ray.types.outcome import Outcome
from tests.support.endpoint import EndpointProcess
from tests.support.golden_runs import REPLIES, golden_config, write_golden_run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

LEFT_OUT = {"genrm_compare", "python_tool"}
"""A verifier of groups, and an interpreter: neither is a function of one trajectory."""
MOST = 4
TIMED = {"judge_usage", "metadata", "unit_tests_time_taken", "tests_output"}
"""Fields of verifiers that say how long something took."""
CHANGED = """
from gym_ray.environments.mcqa import Mcqa
from gym_ray.environments.sokoban import Sokoban


class Contrary(Mcqa):
    async def verify(self, task, trajectory, session):
        reward = await super().verify(task, trajectory, session)
        reward.value = 1.0 - reward.value
        return reward


class Mute(Sokoban):
    async def step(self, task, action, session):
        result = await super().step(task, action, session)
        result.observation = "Well."
        return result
"""


def verdicts(run: str) -> dict[str, tuple[Any, ...]]:
    """By task id: outcome, reward, components, what the verifier said besides, trajectory."""
    rollouts = [one for group in read_groups(run) for one in group.rollouts]
    return {
        one.task_id: (
            *(one.outcome, one.reward, one.components, one.failure),
            {name: value for name, value in one.fields.items() if name not in TIMED},
            *(one.input, one.items, one.turns, one.usage, one.ours["started"], one.ours["timings"]["model"]),
        )
        for one in rollouts
    }


def test_the_same_verifiers_give_the_same_rewards_and_changed_ones_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(REPLIES, str(tmp_path / "judge.json"))
    names = [name for name in catalog.names() if name not in LEFT_OUT]
    with EndpointProcess("tests.support.golden_runs:judge") as judge:
        config = golden_config(tmp_path / "run", names, judge, placement="inline")
        count = asyncio.run(write_golden_run(config, MOST))
        before = verdicts(config.run_dir)
        assert len(before) == count >= 3 * len(names)
        assert main(["reverify", config.run_dir, "envs.math.placement=actor"]) == 0
        again = f"{config.run_dir}-reverified"
        assert "no verdict changed" in capfd.readouterr().out
        assert verdicts(again) == before
        manifest = json.loads(Path(again, "manifest.json").read_text())
        source = json.loads(Path(config.run_dir, "manifest.json").read_text())["source"]
        assert manifest["recorded"] == {"run": config.run_dir, "source": source}
        assert manifest["complete"] is True

        (tmp_path / "changed.py").write_text(CHANGED)
        monkeypatch.chdir(tmp_path)
        words = ["envs.mcqa.server=changed.py:Contrary", "envs.sokoban.server=changed.py:Mute", "run_dir=other"]
        assert main(["reverify", config.run_dir, *words, "--json", "diff.json"]) == 0
    now, found = verdicts("other"), json.loads(Path("diff.json").read_text())["environments"]
    mcqa = [name for name in before if name.startswith("mcqa-")]
    assert [now[name][1] for name in mcqa] == [1.0 - before[name][1] for name in mcqa]
    assert (found["mcqa"]["up"] + found["mcqa"]["down"], found["mcqa"]["other_outcome"]) == (len(mcqa), 0)
    assert {change["task_id"] for change in found["mcqa"]["changes"]} == set(mcqa)
    sokoban = [name for name in before if name.startswith("sokoban-")]
    diverged = [name for name in sokoban if now[name][3] == FailureKind.REPLAY_DIVERGED]
    assert diverged, "a session that answers otherwise than recorded is no session to verify"
    assert all(now[name][:2] == (Outcome.MASKED, None) for name in diverged)
    assert found["sokoban"]["other_outcome"] == len(diverged)
    others = [name for name in before if name not in {*mcqa, *sokoban}]
    assert {name: now[name] for name in others} == {name: before[name] for name in others}
    assert all(not its["changes"] for name, its in found.items() if name not in ("mcqa", "sokoban"))
