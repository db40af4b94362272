"""Shards of live rollouts: a journal without a plan becomes a run like any other, again and again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gym_ray.cli import export, runs_recover
from gym_ray.collect.config import RunConfig
from gym_ray.collect.rundir import RunDir
from gym_ray.runs.groups import read_groups
from gym_ray.runs.read import State, read_run
from gym_ray.runs.recover import recover
from gym_ray.types.errors import UserError
from tests.support.shown_runs import LiveRun, shown_rollouts


@pytest.fixture
def live(tmp_path: Path) -> LiveRun:
    """The directory of a rollout service: configuration and journal, no plan."""
    made = LiveRun(tmp_path / "run")
    made.run.remove("journal/plan.json")
    envs = {name: {"server": "gym_ray.environments.mcqa:Mcqa"} for name in ("office", "evil")}
    config = RunConfig.model_validate({"run_dir": made.address, "envs": envs, "collect": {"rollouts_per_task": 4}})
    made.run.write("config.yaml", yaml.safe_dump(config.model_dump(mode="json")).encode())
    return made


def test_live_rollouts_become_shards(live: LiveRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, rest = shown_rollouts()[:10], shown_rollouts()[10:]
    for one in first[8:]:
        live.start(one)
    live.finish(*first[:9])  # Of the third group one has ended, one is in the air, two were never begun.
    assert runs_recover.run([live.address]) == 0
    assert "10 planned = 9 scored + 0 masked + 0 failed + 1 missing" in capsys.readouterr().out
    assert read_run(live.address).state is State.PARTIAL
    live.finish(first[9], *rest)
    assert recover(live.address).missing == 0
    assert read_run(live.address).state is State.COMPLETE
    groups = list(read_groups(live.address, tasks=True))
    assert [group.rollouts[0].task_number for group in groups] == list(range(9))
    assert [group.row["n"] for group in groups if group.row] == list(range(9)), "each group has its own row"
    assert export.run([live.address, "--to", "nemo_rl_prompts", f"out={tmp_path}/rl"]) == 0
    assert len((tmp_path / "rl" / "train.jsonl").read_bytes().splitlines()) == 9
    assert export.run([live.address, "--to", "openai_sft", f"out={tmp_path}/sft", "reward_min=1"]) == 0


def test_a_directory_without_an_ended_rollout_has_nothing(live: LiveRun) -> None:
    live.start(shown_rollouts()[0])
    with pytest.raises(UserError, match="nothing to recover"):
        recover(live.address)
    assert not RunDir(live.address).exists("journal/plan.json")
