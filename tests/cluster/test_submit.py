"""Commands as jobs of a real Ray that wants its token: attach, detach, stop, resume."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.conftest import SECRET, finished, gym_ray, user_environment
from tests.support.endpoint import EndpointProcess
from tests.support.processes import kill_tree, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.cluster]
ADDRESS = "http://127.0.0.1:8265"
METRICS = 8090
DASHBOARD = Path(__file__).parents[2] / "cluster/grafana/gym_ray.json"


@dataclass
class Head:
    """A Ray that was started as users start one. ``env``: of somebody who has its token."""

    env: dict[str, str]
    token: str
    secrets: Path


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("head")
    token, secrets = folder / "token", folder / "secrets"
    token.write_text("a" * 64)
    secrets.mkdir()
    (secrets / "LUGGAGE_KEY").write_text(f"{SECRET}\n")
    env = user_environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    command = ["ray", "start", "--head", "--block", "--num-cpus=8", "--object-store-memory=200000000"]
    command += [f"--metrics-export-port={METRICS}"]
    with (folder / "ray.log").open("wb") as log:
        process = subprocess.Popen([*command, "--disable-usage-stats"], env=env, stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(token.read_text()), 90, "a dashboard")
        yield Head(env, token.read_text(), secrets)
    finally:
        kill_tree(process.pid)
        process.wait()


def _answers(token: str, path: str = "/api/jobs/") -> bool:
    try:
        return bool(_get(path, token))
    except OSError:
        return False


def _get(path: str, token: str) -> str:
    request = urllib.request.Request(ADDRESS + path, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def _collect(base_url: str, run_dir: Path, *more: str) -> list[str]:
    words = ["collect", "env=envs/luggage.py:Luggage", "tasks=./tasks.jsonl", f"run_dir={run_dir}"]
    return [
        *words,
        "model=openai",
        f"model.base_url={base_url}",
        "model.name=scripted",
        "collect.agent_cpus=0.1",
        *more,
    ]


def test_attached_to_its_end(head: Head, project: Callable[[int], Path], tmp_path: Path) -> None:
    folder, run = project(12), tmp_path / "run"
    own = ["submit", "cluster.secrets=[LUGGAGE_KEY]", f"cluster.secrets_dir={head.secrets}"]
    with EndpointProcess() as base_url:
        done = gym_ray(*own, *_collect(base_url, run), cwd=folder, env=head.env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12/12 rollouts" in done.stdout, done.stdout
    environment = json.loads((run / "metrics.json").read_text())["environments"]["luggage"]
    # The environment's code, its files and the secret were there, in the driver and in the workers.
    assert (environment["scored"], environment["reward"]["mean"]) == (12, 1.0)
    seen = _get("/api/jobs/", head.token) + done.stdout + done.stderr + (run / "config.yaml").read_text()
    assert "LUGGAGE_KEY" in seen
    assert SECRET not in seen


def test_detached_stopped_and_resumed(head: Head, project: Callable[[int], Path], tmp_path: Path) -> None:
    folder, run, tasks = project(60), tmp_path / "run", 60
    with EndpointProcess(latency=0.4) as base_url:
        words = _collect(base_url, run, "collect.in_flight=2", "collect.rollouts_per_task=1")
        begun = gym_ray("submit", "--detach", *words, cwd=folder, env=head.env)
        assert begun.returncode == 0, begun.stdout + begun.stderr
        job = begun.stdout.split()[1]
        wait_for(lambda: len(finished(run)) >= 4, 240, "four rollouts")

        refused = gym_ray("submit", "resume", job, cwd=folder, env=head.env)
        assert refused.returncode == 2
        assert "stop it first" in refused.stderr
        stopped = gym_ray("submit", "stop", job, cwd=folder, env=head.env)
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
        kept = finished(run)
        assert 4 <= len(kept) < tasks
        # It ended in peace: what had landed is in shards already.
        assert json.loads((run / "manifest.json").read_text())
        listed = gym_ray("submit", "status", cwd=folder, env=head.env).stdout
        assert re.search(rf"{job}\s+stopped", listed), listed

        resumed = gym_ray("submit", "resume", job, cwd=folder, env=head.env)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert f"resuming: {len(kept)} of {tasks} rollouts are there" in resumed.stdout
    after = finished(run)
    assert len(after) == tasks
    assert kept.items() <= after.items()


def test_an_exit_code_comes_back_and_a_stranger_is_refused(
    head: Head, project: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = project(1)
    wrong = gym_ray("submit", "collect", "env=mcqq", f"run_dir={tmp_path}/x", cwd=folder, env=head.env)
    assert wrong.returncode == 2
    assert "no such environment" in wrong.stdout
    with pytest.raises(urllib.error.HTTPError, match=r"401|403"):
        _get("/api/jobs/", "b" * 64)
    env = {**head.env, "RAY_AUTH_MODE": "disabled"}
    stranger = gym_ray("submit", "status", cwd=folder, env=env)
    assert stranger.returncode == 2
    assert "wants a token" in stranger.stderr


def test_prometheus_finds_what_the_dashboard_asks_for(
    head: Head, project: Callable[[int], Path], tmp_path: Path
) -> None:
    folder, run = project(200), tmp_path / "watched"
    asked = set(re.findall(r"ray_gym_ray_\w+", DASHBOARD.read_text()))
    asked -= {name for name in asked if "replica" in name or "failures" in name}  # a remote model, and nothing fails
    with EndpointProcess(latency=0.5) as base_url:
        words = _collect(base_url, run, "collect.in_flight=1")
        job = gym_ray("submit", "--detach", *words, cwd=folder, env=head.env).stdout.split()[1]
        wait_for(lambda: asked <= _exported("watched"), 90, "all metrics")
        assert gym_ray("submit", "stop", job, cwd=folder, env=head.env).returncode == 0


def _exported(run: str) -> set[str]:
    """Names of the metrics of one run that Prometheus would find now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.partition("{")[0] for line in lines if f'run="{run}"' in line}
