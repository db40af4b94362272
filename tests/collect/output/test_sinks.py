"""Trackers: what they are told, and that they cost a run nothing. The real ones offline, where they are installed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from gym_ray.collect.config import RunConfig
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.collect.output import sinks
from gym_ray.collect.output.finalize import Summary, finalize
from gym_ray.collect.output.sinks import COLUMNS, Sinks, flat, sampled
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.tally import Tally
from gym_ray.types.errors import UserError
from gym_ray.types.outcome import Outcome
from tests.support.rollouts import make_rollout, put

TASKS = 10


class Plan:
    rollouts = TASKS


def make_run(folder: Path, *trackers: str) -> tuple[RunDir, RunConfig, Summary]:
    run = RunDir.create(str(folder))
    journal = JournalWriter(run, "worker-0")
    for task in range(TASKS):
        put(journal, make_rollout(task, outcome=Outcome.MASKED if task == 9 else Outcome.SCORED))
    journal.close()
    told = {"to": trackers, "samples": 4, "every_s": 0}
    config = RunConfig.model_validate(
        {
            "run_dir": run.address,
            "envs": {"adder": {"server": "a.b:C", "options": {"api_key": "hush"}}},
            "trackers": told,
        }
    )
    return run, config, finalize(run, config, Plan())


def tally() -> Tally:
    found = Tally()
    for task in range(3):
        found.count(make_rollout(task))
    return found


class Told:
    """A tracker that remembers, or fails."""

    def __init__(self, config: RunConfig, run: RunDir) -> None:
        self.logged: list[tuple[Mapping[str, float], int]] = []
        self.ended: list[Any] = []

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.logged.append((metrics, step))

    def end(self, metrics: Mapping[str, float], step: int, samples: list[dict[str, Any]]) -> None:
        self.ended.append((metrics, samples))


class Broken(Told):
    def log(self, metrics: Mapping[str, float], step: int) -> None:
        raise ConnectionError("gone")


def test_they_are_told_metrics_and_samples_and_a_broken_one_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "TRACKERS", {"wandb": Told, "mlflow": Broken})
    run, config, summary = make_run(tmp_path / "run", "wandb", "mlflow")
    said: list[str] = []
    its = Sinks(config, run, said.append)
    told, broken = its._sinks["wandb"], its._sinks["mlflow"]
    its.progress(tally())
    its.progress(tally(), last=True)
    its.end(summary)
    assert isinstance(told, Told)
    assert isinstance(broken, Told)
    assert said == ["mlflow: ConnectionError: gone; it gets no more of this run"]
    assert broken.ended == []
    metrics, step = told.logged[0]
    assert (step, metrics["adder/scored"], metrics["adder/reward/mean"], metrics["progress/turns"]) == (3, 3, 1.0, 6)
    ((metrics, samples),) = told.ended
    assert (metrics["adder/scored"], metrics["adder/masked"], metrics["adder/reward/mean"]) == (9, 1, 1.0)
    assert metrics == dict(flat(orjson.loads(run.read("metrics.json"))["environments"]))
    assert [sample["task_id"] for sample in samples] == ["task-0", "task-3", "task-6", "task-9"]
    assert set(samples[0]) == set(COLUMNS)
    assert "[user] 2+2?" in samples[0]["conversation"]
    assert '[call] add({"a": 2, "b": 2})' in samples[0]["conversation"]
    assert (samples[3]["outcome"], samples[3]["reward"], samples[3]["failure"]) == ("masked", None, "judge_failed")


def test_a_slow_tracker_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Told):
        def log(self, metrics: Mapping[str, float], step: int) -> None:
            time.sleep(3600)

    monkeypatch.setattr(sinks, "TRACKERS", {"wandb": Slow})
    monkeypatch.setattr(sinks, "END_S", 0.1)
    run, config, summary = make_run(tmp_path / "run", "wandb")
    said: list[str] = []
    its = Sinks(config, run, said.append)
    for _ in range(100):
        its.progress(tally())
    its.end(summary)
    assert said == ["trackers: not done after 0.1 s, left alone"]
    assert its._work.qsize() <= 3, "what it has no time for is left out"


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    run, config, _ = make_run(tmp_path / "run", "wandb")
    with pytest.raises(UserError, match=r"trackers\.to=wandb: wandb is not installed .*pip install"):
        Sinks(config, run, print)


def test_samples_of_an_empty_run(tmp_path: Path) -> None:
    assert sampled(RunDir.create(str(tmp_path / "run")), 5) == []


@pytest.mark.integrations
def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run, config, summary = make_run(tmp_path / "run", "wandb")
    said: list[str] = []
    its = Sinks(config, run, said.append)
    its.progress(tally())
    its.end(summary)
    assert said == []
    (folder,) = (tmp_path / "run/log/wandb").glob("offline-run-*")
    content = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert b"adder/reward/mean" in content
    assert b"hush" not in content
    (table,) = folder.rglob("samples*.table.json")
    rows = json.loads(table.read_text())
    assert rows["columns"] == list(COLUMNS)
    assert len(rows["data"]) == 4


@pytest.mark.integrations
def test_mlflow_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    run, config, summary = make_run(tmp_path / "run", "mlflow")
    said: list[str] = []
    for _ in range(2):  # the second one goes on
        its = Sinks(config, run, said.append)
        its.progress(tally())
        its.end(summary)
    assert said == []
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("gym_ray")
    (made,) = client.search_runs([experiment.experiment_id])
    assert (made.info.run_name, made.info.status) == ("run", "FINISHED")
    assert made.data.metrics["adder/masked"] == 1
    assert 3 in {point.step for point in client.get_metric_history(made.info.run_id, "adder/scored")}
    kept = mlflow.artifacts.load_dict(f"{made.info.artifact_uri}/samples.json")
    assert len(kept["rows"]) == 4
    assert "hush" not in mlflow.artifacts.load_text(f"{made.info.artifact_uri}/config.yaml")
