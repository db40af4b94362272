"""What the README shows is true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gym_ray.cli.main import VERBS, main
from gym_ray.collect.rundir import CONFIG, FAILURES, JOURNAL, MANIFEST, METRICS, ROLLOUTS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found
    return found[1]


def test_its_environment_works_and_its_task_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, task = block("python"), json.loads(block("json"))
    (tmp_path / "store.py").write_text(code)
    (tmp_path / "examples.jsonl").write_text(json.dumps(task) + "\n")
    call = {"type": "function_call", "call_id": "c", "name": "take", "arguments": '{"item": "apples", "count": 3}'}
    golden = [
        {"task": 0, "items": [call], "tool_calls_executed": True, "expected_reward": 1.0},
        {"task": 0, "items": [], "expected_reward": 0.0},
    ]
    (tmp_path / "golden.jsonl").write_text("".join(json.dumps(case) + "\n" for case in golden))
    assert main(["env", "test", "store.py:Store"]) == 0, capsys.readouterr()
    assert len([line for line in code.splitlines() if line]) <= 15


def test_it_names_every_verb_and_every_part_of_a_run() -> None:
    families = {verb.split()[0] for verb in VERBS}
    assert all(f"`gym-ray {family}" in README for family in families)
    parts = {part.partition("/")[0] for part in (CONFIG, FAILURES, JOURNAL, MANIFEST, METRICS, ROLLOUTS)}
    assert all(re.search(rf"^{re.escape(part)}", README, re.MULTILINE) for part in parts)


@pytest.mark.parametrize("script", sorted(set(re.findall(r"scripts/\w+", README))))
def test_its_scripts_exist(script: str) -> None:
    assert (ROOT / script).stat().st_mode & 0o100
