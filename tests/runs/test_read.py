"""Reading run directories: states, totals, and the verbs that print them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from gym_ray.cli.main import main
from gym_ray.collect.config import RunConfig
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.collect.output.metrics import EnvironmentTotals
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.tasks.plan import PLAN_JSON, EnvironmentPlan, Plan
from gym_ray.runs.groups import read_groups
from gym_ray.runs.read import State, list_runs, read_run
from gym_ray.types.errors import UserError
from gym_ray.types.outcome import Failure, Outcome, Reward
from gym_ray.types.rollout import Rollout
from tests.support.rollouts import make_rollout, put

PLANNED = Plan("f", 1, {"adder": EnvironmentPlan(4, 4, 4)}, 4, 4, 4, 0, 1, [], {})


def rollout(index: int, outcome: Outcome, reward: float | None = None, kind: str = "") -> Rollout:
    return Rollout(
        task_number=0,
        task_id="t",
        rollout_index=index,
        environment="quiz",
        agent="ToolLoop",
        task=b"{}",
        params={},
        outcome=outcome,
        reward=None if reward is None else Reward(reward),
        failure=Failure(kind, "verify", "why") if kind else None,
        timings={"total": 2.0},
    )


def make_run(folder: Path | str, *, shards: bool = True, expected: int = 4) -> str:
    """A run directory as the collector leaves it; without shards: one that was killed while it ran."""
    run = RunDir.create(str(folder))
    config = {"envs": {"quiz": {"server": "a.b:Quiz"}}, "model": {"name": "tiny", "kind": "vllm"}, "collect": {}}
    run.write("config.yaml", yaml.safe_dump(config).encode())
    run.write("journal/plan.json", json.dumps({"rollouts": expected, "tasks": 2, "bad_rows": 0}).encode())
    if not shards:
        return run.address
    totals = EnvironmentTotals()
    totals.add(rollout(0, Outcome.SCORED, 1.0))
    totals.add(rollout(1, Outcome.SCORED, 0.5))
    totals.add(rollout(2, Outcome.MASKED, kind="verifier_error"))
    totals.add(rollout(3, Outcome.FAILED, kind="transport_timeout"))
    counts = {"expected": expected, "scored": 2, "masked": 1, "failed": 1, "missing": expected - 4}
    metrics: dict[str, Any] = {"rollouts": counts, "environments": {"quiz": totals.summary()}}
    run.write("metrics.json", json.dumps(metrics).encode())
    files = [{"path": "rollouts/part-00000.jsonl", "rows": 3, "bytes": 1000}]
    run.write("manifest.json", json.dumps({"complete": expected == 4, "files": files}).encode())
    return run.address


def test_a_finished_run(tmp_path: Path) -> None:
    found = read_run(make_run(tmp_path / "run"))
    assert (found.state, found.finished, found.expected, found.mean_reward) == (State.COMPLETE, 4, 4, 0.75)


def test_states_of_unfinished_runs(tmp_path: Path) -> None:
    assert read_run(make_run(tmp_path / "partial", expected=6)).state is State.PARTIAL
    planned = make_run(tmp_path / "planned", shards=False)
    assert read_run(planned).state is State.PLANNED
    assert read_run(planned).mean_reward is None
    (tmp_path / "planned/journal/worker-0.seg").write_bytes(b"")
    assert read_run(planned).state is State.UNFINISHED


def test_metrics_without_a_manifest_are_of_an_earlier_attempt(tmp_path: Path) -> None:
    address = make_run(tmp_path / "run")
    (tmp_path / "run/manifest.json").unlink()
    assert read_run(address).finished == 0


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    address = make_run(tmp_path / "run")
    (tmp_path / "run/metrics.json").write_text("{")
    with pytest.raises(UserError, match="a damaged file"):
        read_run(address)


def test_listing_is_newest_first_and_skips_strangers(tmp_path: Path) -> None:
    old, new = make_run(tmp_path / "a"), make_run(tmp_path / "b", shards=False)
    os.utime(Path(old) / "config.yaml", (1, 1))
    (tmp_path / "notes").mkdir()
    assert [run.address for run in list_runs(str(tmp_path))] == [new, old]
    (tmp_path / "b/config.yaml").write_text("a: [")
    assert [run.state for run in list_runs(str(tmp_path))] == [State.DAMAGED, State.COMPLETE]
    with pytest.raises(UserError, match="no folder"):
        list_runs(str(tmp_path / "nowhere"))


def test_runs_on_any_filesystem(capsys: pytest.CaptureFixture[str]) -> None:
    address = make_run("memory://listed/runs/one")
    assert [(run.address, run.state) for run in list_runs("memory://listed/runs")] == [(address, State.COMPLETE)]
    assert main(["runs", "list", "memory://listed/runs"]) == 0
    assert "one" in capsys.readouterr().out
    assert main(["runs", "show", address]) == 0
    assert "4 of 4 rollouts" in capsys.readouterr().out


def test_the_verbs_print_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs/one")
    assert main(["runs", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[1].split() == ["one", "quiz", "tiny", "complete", "4/4", "0.750"]
    assert main(["runs", "show", "one"]) == 0
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("quiz"))
    assert row.split() == ["quiz", "4", "2", "1", "1", "0.750", "0.0", "0", "2.00"]
    for expected in ("verifier_error", "transport_timeout", "rollouts/part-00000.jsonl   3 rows"):
        assert expected in shown
    assert main(["runs", "show", "runs/one", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["rollouts"]["masked"] == 1


def test_what_a_dead_run_left_becomes_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDir.create(str(tmp_path / "run"))
    settings = RunConfig.model_validate({"run_dir": run.address, "envs": {"adder": {"server": "a.b:C"}}})
    run.write("config.yaml", yaml.safe_dump(settings.model_dump(mode="json")).encode())
    assert main(["runs", "recover", run.address]) == 2
    assert "nothing to recover" in capsys.readouterr().err
    run.write(PLAN_JSON, orjson.dumps(asdict(PLANNED)))
    journal = JournalWriter(run, "worker-0")
    for task in range(3):
        put(journal, make_rollout(task))
    journal.close()
    (segment,) = (tmp_path / "run/journal").glob("*.seg")
    segment.write_bytes(segment.read_bytes()[:-200])  # as a writer leaves it that was killed while it wrote
    assert main(["profile", run.address]) == 2
    assert f"gym-ray runs recover {run.address}" in capsys.readouterr().err
    assert main(["runs", "recover", run.address]) == 0
    assert "4 planned = 2 scored + 0 masked + 0 failed + 2 missing" in capsys.readouterr().out
    assert [group.task_number for group in read_groups(run.address)] == [0, 1]
    assert read_run(run.address).state is State.PARTIAL
