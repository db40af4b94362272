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
MOST = 3
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


def test_the_same_verifiers_give_the_same_rewards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(REPLIES, str(tmp_path / "judge.json"))
    names = [name for name in catalog.names() if name not in LEFT_OUT]
    with EndpointProcess("tests.support.golden_runs:judge") as judge:
        config = golden_config(tmp_path / "run", names, judge, placement="inline")
        count = asyncio.run(write_golden_run(config, MOST))
        before = verdicts(config.run_dir)
        assert len(before) == count >= 2 * len(names)
        assert main(["reverify", config.run_dir, "envs.math.placement=actor"]) == 0
    again = f"{config.run_dir}-reverified"
    assert "no verdict changed" in capfd.readouterr().out
    assert verdicts(again) == before
    manifest = json.loads(Path(again, "manifest.json").read_text())
    source = json.loads(Path(config.run_dir, "manifest.json").read_text())["source"]
    assert manifest["recorded"] == {"run": config.run_dir, "source": source}
    assert manifest["complete"] is True


def test_changed_verifiers_give_their_own(tmp_path: Path) -> None:
    config = golden_config(tmp_path / "run", ["mcqa", "sokoban", "string_match"], "http://127.0.0.1:1/v1")
    asyncio.run(write_golden_run(config, 4))
    (tmp_path / "changed.py").write_text(CHANGED)
    words = [f"envs.mcqa.server={tmp_path}/changed.py:Contrary", f"envs.sokoban.server={tmp_path}/changed.py:Mute"]
    assert main(["reverify", config.run_dir, *words, "--json", str(tmp_path / "diff.json")]) == 0
    before, now = verdicts(config.run_dir), verdicts(f"{config.run_dir}-reverified")
    found = json.loads((tmp_path / "diff.json").read_text())["environments"]
    mcqa, sokoban, others = ([task for task in before if task.startswith(name)] for name in found)
    assert [now[task][1] for task in mcqa] == [1.0 - before[task][1] for task in mcqa]
    assert (found["mcqa"]["up"] + found["mcqa"]["down"], found["mcqa"]["other_outcome"]) == (len(mcqa), 0)
    assert {change["task_id"] for change in found["mcqa"]["changes"]} == set(mcqa)
    diverged = [task for task in sokoban if now[task][3] == FailureKind.REPLAY_DIVERGED]
    assert diverged, "a session that answers otherwise than recorded is no session to verify"
    assert all(now[task][:2] == (Outcome.MASKED, None) for task in diverged)
    assert found["sokoban"]["other_outcome"] == len(diverged)
    assert [now[task] for task in others] == [before[task] for task in others]
    assert found["string_match"]["changes"] == []
