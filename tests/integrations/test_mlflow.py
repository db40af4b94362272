"""MLflow, the real one, with a folder for its store."""

from __future__ import annotations

from pathlib import Path

import pytest

from gym_ray.collect.output.sinks import Sinks
from tests.support.tracked import tally, tracked_run

pytestmark = pytest.mark.integrations
mlflow = pytest.importorskip("mlflow")


def test_mlflow_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    run, config, summary = tracked_run(tmp_path / "run", "mlflow")
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
