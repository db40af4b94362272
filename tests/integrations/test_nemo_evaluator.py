"""NeMo Evaluator's own command line, with our environments as its evaluations."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gym_ray.cli.compose import compose_settings, conf_dir, group_choices
from gym_ray.collect.config import RunConfig
from gym_ray.resources.load import load_server
from tests.support.endpoint import EndpointProcess
from tests.support.scripted_runs import scripted, write_run

pytest.importorskip("nemo_evaluator")
pytestmark = pytest.mark.integrations
HARNESS = Path(__file__).parents[2] / "core_evals" / "gym_ray"
KEY = "sk-veryverysecret0123456789"
RUN_EVAL = [str(Path(sys.executable).with_name("nemo-evaluator")), "run_eval", "--eval_type", "gym_ray.mcqa"]
RUN_EVAL += ["--model_type", "chat", "--model_id", "my/model"]
FOREIGN = {"gymnasium", "mcp_tools", "nemo_gym", "openenv", "verifiers"}
"""Choices that want an option or a package."""


Evaluate = Callable[..., tuple[subprocess.CompletedProcess[str], Path]]


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """``evaluate(script, **params)``: the guide's command against a scripted endpoint; its end, and its folder."""

    def run(script: str, **params: Any) -> tuple[subprocess.CompletedProcess[str], Path]:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "MY_KEY": KEY,
            "NEMO_EVALUATOR_TELEMETRY_LEVEL": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        # A cluster of its own, which knows the key.
        environment.pop("RAY_ADDRESS", None)
        words = [
            "run_eval",
            "--eval_type",
            "gym_ray.mcqa",
            "--output_dir",
            f"{tmp_path}/results",
            "--model_type",
            "chat",
        ]
        given = ",".join(f"config.params.{name.replace('__', '.')}={value}" for name, value in params.items())
        with EndpointProcess(f"tests.integrations.scripts:{script}") as base_url:
            words += [
                "--model_id",
                "my/model",
                "--model_url",
                f"{base_url}/chat/completions",
                "--api_key_name",
                "MY_KEY",
            ]
            command = [Path(sys.executable).with_name("nemo-evaluator"), *words, "--overrides", given]
            done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=400)
        return done, tmp_path / "results"

    return run


def test_what_needs_nothing_else_is_listed() -> None:
    listed = yaml.safe_load((HARNESS / "framework.yml").read_text())["evaluations"]
    choices = [name for name in group_choices([conf_dir()])["env"] if name not in FOREIGN]
    configs = {name: yaml.safe_load((Path(conf_dir()) / "env" / f"{name}.yaml").read_text()) for name in choices}
    servers = {name: load_server(config["server"]) for name, config in configs.items()}
    assert [one["name"] for one in listed] == [name for name in choices if not servers[name].judge_roles]
    assert all(one["defaults"]["config"]["params"]["task"] == one["name"] for one in listed)


def test_scores_are_over_tasks_and_nothing_lost_is_counted(tmp_path: Path) -> None:
    from core_evals.gym_ray.output import parse_output

    rewards: dict[tuple[int, int], float | None] = {(0, 0): 1.0, (0, 1): 0.0, (1, 0): 1.0, (1, 1): None, (2, 0): 0.0}
    rollouts = [scripted(task, index, reward) for (task, index), reward in rewards.items()]
    write_run(tmp_path / "run", [*rollouts, scripted(2, 1, None, failed="session_lost")])
    metrics = parse_output(str(tmp_path)).tasks["quiz"].metrics
    counts = {outcome: score.value for outcome, score in metrics["rollouts"].scores.items()}
    assert counts == {"scored": 4, "masked": 1, "failed": 1}
    reward = metrics["reward"].scores["reward"]
    assert (reward.value, reward.stats.count, reward.stats.sum) == (0.5, 3, 1.5)
    assert reward.stats.stderr == pytest.approx(0.5 / 3**0.5)
    write_run(tmp_path / "other/run", [scripted(0, 0, None)])
    with pytest.raises(RuntimeError, match="no rollout of quiz was scored"):
        parse_output(str(tmp_path / "other"))


def test_the_command_is_that_of_the_guide(tmp_path: Path) -> None:
    """As NeMo Evaluator renders it, and as ours reads it."""
    command = [*RUN_EVAL, "--output_dir", f"{tmp_path}/out", "--model_url", "http://127.0.0.1:1/v1/chat/completions"]
    given = "config.params.limit_samples=4,config.params.temperature=0.0,config.params.extra.tasks=/some/*.jsonl"
    given += ",config.params.max_retries=2,config.params.extra.args=agent.max_turns=1"
    environment = {**os.environ, "NEMO_EVALUATOR_TELEMETRY_LEVEL": "0"}
    command += ["--api_key_name", "MY_KEY", "--overrides", given, "--dry_run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    words = shlex.split(done.stdout.partition("Rendered command:")[2])
    assert words[:2] == ["gym-ray", "collect"], done.stderr
    config, _ = compose_settings(words[2:], RunConfig)
    model = config.model
    assert (model.name, model.base_url, model.api_key_env) == ("my/model", "http://127.0.0.1:1/v1", "MY_KEY")
    assert (model.dialect, model.sampling_overrides, model.retry.max_attempts) == ("chat", {"temperature": 0.0}, 3)
    assert (config.tasks.limit, config.tasks.path, list(config.envs)) == (4, "/some/*.jsonl", ["mcqa"])
    assert (config.agent.max_turns, config.run_dir) == (1, f"{tmp_path}/out/run")


@pytest.mark.ray
def test_an_evaluation(evaluate: Evaluate) -> None:
    params = {"limit_samples": 4, "temperature": 0.5, "top_p": 0.9, "max_new_tokens": 64, "parallelism": 2}
    done, folder = evaluate("two_in_three", **params, extra__n_samples=3)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    metrics = yaml.safe_load((folder / "results.yml").read_text())["results"]["tasks"]["mcqa"]["metrics"]
    counts = {outcome: score["value"] for outcome, score in metrics["rollouts"]["scores"].items()}
    assert counts == {"scored": 12, "masked": 0, "failed": 0}
    reward = metrics["reward"]["scores"]["reward"]
    assert reward["stats"]["count"] == 4, "tasks are what is counted"
    own = json.loads((folder / "run/metrics.json").read_text())["environments"]["mcqa"]["reward"]
    assert reward["value"] == pytest.approx(own["mean"])
    assert 0.0 < reward["value"] < 1.0
    assert reward["stats"]["stderr"] > 0.0
    sampled = yaml.safe_load((folder / "run/config.yaml").read_text())["model"]["sampling_overrides"]
    assert sampled == {"temperature": 0.5, "top_p": 0.9, "max_output_tokens": 64}
    content = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert KEY.encode() not in content


@pytest.mark.ray
def test_an_evaluation_without_a_model_fails(evaluate: Evaluate) -> None:
    done, folder = evaluate("refuse", limit_samples=2)
    assert done.returncode != 0
    assert "why: gym-ray runs show" in done.stdout + done.stderr
    assert not (folder / "results.yml").exists()
