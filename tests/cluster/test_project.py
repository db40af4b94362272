"""What goes along with a job, and what is said of its words before anything is sent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gym_ray.cli.main import main
from gym_ray.cli.submit import split_words, with_run_dir
from gym_ray.cluster import secrets
from gym_ray.cluster.config import ClusterConfig
from gym_ray.cluster.project import relocate, runtime_env
from gym_ray.types.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a subfolder, in which the user is."""
    for place in ("project/envs/mine.py", "project/sub/tasks.jsonl", "elsewhere/other.py"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("")
    monkeypatch.chdir(tmp_path / "project/sub")
    return tmp_path / "project"


def test_paths_become_relative_to_the_project(folder: Path) -> None:
    config = ClusterConfig(project="..")
    words = [
        "collect",
        "env=../envs/mine.py:Mine,mcqa",
        "tasks=./tasks.jsonl",
        "run_dir=/shared/runs/x",
        "model.name=a/b",
    ]
    assert relocate(words, config) == [
        "collect", "env=envs/mine.py:Mine,mcqa", "tasks=sub/tasks.jsonl", "run_dir=/shared/runs/x", "model.name=a/b"
    ]  # fmt: skip
    assert relocate([f"env={folder}/envs/mine.py"], config) == ["env=envs/mine.py"]


@pytest.mark.parametrize("word", ["env=../../elsewhere/other.py:Other", "tasks=../../elsewhere/other.py"])
def test_what_lies_outside_is_refused(folder: Path, word: str) -> None:
    with pytest.raises(UserError, match="outside the project"):
        relocate([word], ClusterConfig(project=".."))


def test_the_environment_names_secrets_and_holds_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "never-to-be-seen")
    config = ClusterConfig(
        project="..", secrets=["MY_KEY"], secrets_dir="/run/secrets", env={"COLOUR": "red"}, drain_s=9
    )
    made = runtime_env(config)
    assert made["env_vars"] == {
        "COLOUR": "red",
        "RAY_JOB_STOP_WAIT_TIME_S": "9",
        "GYM_RAY_SECRETS": "MY_KEY",
        "GYM_RAY_SECRETS_DIR": "/run/secrets",
    }
    assert "never-to-be-seen" not in str(made)
    assert made["working_dir"] == str(folder)
    with pytest.raises(UserError, match=r"one of cluster\.secrets"):
        runtime_env(config.model_copy(update={"env": {"MY_KEY": "x"}}))


def test_secrets_come_from_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "IN_FILE").write_text("one\n")
    for name, value in {"GYM_RAY_SECRETS": "IN_FILE,IN_ENV,NOWHERE", "GYM_RAY_SECRETS_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IN_ENV", "two")
    monkeypatch.setenv("IN_FILE", "older")
    assert secrets.install() == ["NOWHERE"]
    assert (os.environ["IN_FILE"], os.environ["IN_ENV"]) == ("one", "two")
    with pytest.raises(UserError, match="NOWHERE is not set"):
        secrets.require()


def test_a_run_directory_outlives_its_job() -> None:
    config = ClusterConfig(runs="s3://bucket/runs")
    assert with_run_dir(["collect", "env=mcqa"], config)[-1].startswith("run_dir=s3://bucket/runs/20")
    assert with_run_dir(["collect", "run_dir=/shared/x"], config) == ["collect", "run_dir=/shared/x"]
    assert with_run_dir(["profile", "runs/x"], config) == ["profile", "runs/x"]
    for words, reason in {
        ("collect", "env=mcqa"): "is missing",
        ("collect", "run_dir=runs/x"): "absolute path",
    }.items():
        with pytest.raises(UserError, match=reason):
            with_run_dir(words, ClusterConfig())


def test_words_before_the_verb_are_the_clusters() -> None:
    own, rest = split_words(["cluster=local", "--detach", "collect", "env=mcqa"], ["collect"])
    assert (own, rest) == (["cluster=local", "--detach"], ["collect", "env=mcqa"])


def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    cases = {
        (): "say what",
        ("stop",): "which job",
        ("cluster.adress=http://x", "status"): "nearest: cluster.address",
        ("cluster.auth_token_path=/nowhere", "status"): "no such file",
    }
    for words, expected in cases.items():
        assert main(["submit", *words]) == 2
        assert expected in capsys.readouterr().err


def test_nobody_answers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gym_ray.cli.main", "submit", "cluster.address=http://127.0.0.1:1", "status"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "nothing answers there" in done.stderr.strip().splitlines()[-1]
