"""The closed loop, whole: real vLLM on Ray Serve, real learner; killed in the middle and gone on with.

Marked ``slow``, for it starts an engine twice: ``scripts/test_trainers``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from gym_ray.environments.mcqa.generate import generate
from tests.support.processes import kill_tree, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.vllm]
STEPS, GROUPS, ROLLOUTS = 6, 4, 8
START_S = 300
ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    for name, count, seed in (("train", 40, 1), ("held", 8, 7)):
        (tmp_path / f"{name}.jsonl").write_bytes(b"\n".join(map(orjson.dumps, generate(count, seed))))
    words = ["env=mcqa", "model=tiny", f"tasks={tmp_path}/train.jsonl", f"rl.held_out.path={tmp_path}/held.jsonl"]
    words += [f"rl.steps={STEPS}", f"rl.groups_per_step={GROUPS}", "rl.measure_every=3", "rl.checkpoint_every=2"]
    words += [f"collect.rollouts_per_task={ROLLOUTS}", f"run_dir={tmp_path}/run"]
    return [sys.executable, "-m", "gym_ray.cli.main", "rl", *words]


def metrics(folder: Path) -> list[dict[str, Any]]:
    file = folder / "run" / "training" / "seed-0" / "metrics.jsonl"
    return [orjson.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def run(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def finish(process: subprocess.Popen[bytes], folder: Path) -> str:
    """What was said in all. The end must be a good one."""
    try:
        code = process.wait(START_S)
    finally:
        kill_tree(process.pid)
    log = (folder / "log.txt").read_text()
    assert code == 0, log[-4000:]
    return log


def test_a_training_that_is_killed_goes_on(command: list[str], tmp_path: Path) -> None:
    first = run(command, tmp_path)
    try:
        wait_for(lambda: len(metrics(tmp_path)) > 3 or first.poll() is not None, START_S, "three steps")
    finally:
        kill_tree(first.pid)
        first.wait()
    before = metrics(tmp_path)
    assert 3 < len(before) <= STEPS, "killed in the middle"
    said = finish(run(command, tmp_path), tmp_path)
    assert "going on after step 2" in said or "going on after step 4" in said

    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == list(range(STEPS + 1))
    assert lines[:3] == before[:3], "what the checkpoint of step 2 knew was not done again"
    for line in lines[1:]:
        assert (line["scored"], line["failed"], line["masked"]) == (GROUPS * ROLLOUTS, 0, 0)
        assert line["sampled_by"] == line["version"] - 1
        assert line["drift"] < 0.01, "recorded log-probabilities are those of the weights that were published"
    assert [line["step"] for line in lines if "held_out" in line] == [0, 3, 6]
    assert (tmp_path / "run" / "curve.png").exists()
    assert (tmp_path / "run" / "training" / "seed-0" / "weights" / "model.safetensors").exists()

    finish(run(command, tmp_path), tmp_path)
    assert metrics(tmp_path) == lines, "a finished training is left as it is"
