"""Trackers: what they are told, and that they cost a run nothing. The real ones offline, where they are installed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from gym_ray.collect.config import RunConfig
from gym_ray.collect.output import sinks
from gym_ray.collect.output.sinks import COLUMNS, Sinks, flat, sampled
from gym_ray.collect.rundir import RunDir
from gym_ray.types.errors import UserError
from tests.support.tracked import tally, tracked_run


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
    run, config, summary = tracked_run(tmp_path / "run", "wandb", "mlflow")
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
    run, config, summary = tracked_run(tmp_path / "run", "wandb")
    said: list[str] = []
    its = Sinks(config, run, said.append)
    for _ in range(100):
        its.progress(tally())
    its.end(summary)
    assert said == ["trackers: not done after 0.1 s, left alone"]
    assert its._work.qsize() <= 3, "what it has no time for is left out"


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    run, config, _ = tracked_run(tmp_path / "run", "wandb")
    with pytest.raises(UserError, match=r"trackers\.to=wandb: wandb is not installed .*pip install"):
        Sinks(config, run, print)


def test_samples_of_an_empty_run(tmp_path: Path) -> None:
    assert sampled(RunDir.create(str(tmp_path / "run")), 5) == []
