"""``scripts/parity``: on a small tree of its own always, on a real nemo-gym where ``GYM_RAY_NEMO_GYM`` names one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gym_ray.types.items import assistant_message, function_call

ROOT = Path(__file__).resolve().parents[2]
PROMPT = {"input": [{"role": "user", "content": "Call f."}]}


def parity(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable, "COLUMNS": "160"}
    command = [ROOT / "scripts" / "parity", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two recordings of a server that knows its rows only from ``example.jsonl``: the second reward is wrong."""
    folder = tmp_path / "resources_servers" / "fc"
    (folder / "configs").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "configs" / "fc.yaml").write_text("xlam_fc_simple_agent:\n  responses_api_agents: {}\n")
    task = {"responses_create_params": PROMPT, "expected_answers": [{"name": "f", "arguments": {}}]}
    (folder / "data" / "example.jsonl").write_text(json.dumps(task) + "\n")
    answers = [(function_call("f", "{}", "c"), 1.0), (assistant_message("No."), 1.0)]
    lines = [json.dumps(recorded(item, reward)) for item, reward in answers]
    (folder / "data" / "example_rollouts.jsonl").write_text("\n".join([*lines, "a placeholder"]))
    return tmp_path


def recorded(item: dict[str, Any], reward: float) -> dict[str, Any]:
    params = {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Call f."}]}]}
    return {"responses_create_params": params, "response": {"output": [item]}, "reward": reward}


def test_agreement_and_difference(tree: Path) -> None:
    done = parity(str(tree))
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[1].split() == ["xlam_fc", "resources_servers/fc", "2", "1", "1", "0"]
    assert "xlam_fc: row 1: recorded 1, ours 0" in done.stdout
    assert done.stdout.endswith("1 environments, 2 rows: 1 agree, 1 differ (1 unexplained), 0 not graded\n")


def test_nothing_to_compare(tmp_path: Path) -> None:
    assert parity(str(tmp_path)).returncode == 2
    (tmp_path / "resources_servers").mkdir()
    assert "0 environments" in parity(str(tmp_path)).stdout


@pytest.mark.skipif("GYM_RAY_NEMO_GYM" not in os.environ, reason="GYM_RAY_NEMO_GYM: path of an unpacked nemo-gym")
def test_real_recordings() -> None:
    done = parity(os.environ["GYM_RAY_NEMO_GYM"])
    assert done.returncode == 0, done.stdout + done.stderr
