"""Weights & Biases, the real one, offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gym_ray.collect.output.sinks import COLUMNS, Sinks
from tests.support.tracked import tally, tracked_run

pytestmark = pytest.mark.integrations
pytest.importorskip("wandb")


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run, config, summary = tracked_run(tmp_path / "run", "wandb")
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
