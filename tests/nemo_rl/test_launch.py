"""How a NeMo-RL script gets our actor: against a package made like NeMo-RL's releases, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STREAMING = "async def run_rollouts(self, examples, timer_prefix, deduplicate=False):\n        yield 0, {}, None"
LISTED = "async def run_rollouts(self, examples, tokenizer, timer_prefix):\n        return [], {}"
ACTOR = """
import ray

@ray.remote(max_restarts=-1, max_task_retries=-1)
class NemoGym:
    {method}
"""
SPINUP = """
from nemo_rl.environments.nemo_gym import NemoGym

def make(cfg):
    return NemoGym.options(runtime_env={"py_executable": "uv run"}).remote(cfg)
"""
SCRIPT = """
import sys
from nemo_rl.algorithms import grpo
from nemo_rl.distributed.ray_actor_environment_registry import ACTOR_ENVIRONMENT_REGISTRY as registry
assert __name__ == "__main__"
assert registry["nemo_rl.environments.nemo_gym.NemoGym"] == sys.executable
print(type(grpo.NemoGym).__module__, grpo.NemoGym.streaming, sys.argv[1:])
"""


@pytest.fixture
def trainer(tmp_path: Path) -> Path:
    """A checkout with what the launcher touches."""
    package = tmp_path / "nemo_rl"
    for folder in ("environments", "distributed", "algorithms"):
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "algorithms/grpo.py").write_text(SPINUP)
    registry = 'ACTOR_ENVIRONMENT_REGISTRY = {"nemo_rl.environments.nemo_gym.NemoGym": "uv run --extra nemo_gym"}\n'
    (package / "distributed/ray_actor_environment_registry.py").write_text(registry)
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def launch(trainer: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gym_ray.integrations.nemo_rl", *words],
        env={"PYTHONPATH": f"{trainer}:{Path.cwd()}", "PATH": "/usr/bin:/bin", "HOME": str(trainer)},
        cwd=trainer,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(("method", "streaming"), [(STREAMING, True), (LISTED, False)])
def test_a_script_runs_with_our_actor_of_the_right_kind(trainer: Path, method: str, streaming: bool) -> None:
    (trainer / "nemo_rl/environments/nemo_gym.py").write_text(ACTOR.format(method=method))
    done = launch(trainer, "script.py", "--config", "my.yaml", "grpo.seed=1")
    expected = f"gym_ray.integrations.nemo_rl.launch {streaming} ['--config', 'my.yaml', 'grpo.seed=1']"
    assert done.stdout.strip() == expected, done.stderr


def test_what_is_missing_is_said_in_a_line(trainer: Path) -> None:
    done = launch(trainer, "nonesuch.py")
    assert done.returncode == 1
    assert "there is no file nonesuch.py" in done.stderr
    done = launch(trainer, "script.py")
    assert done.returncode == 1
    assert "NeMo-RL cannot be imported" in done.stderr.splitlines()[-1]


def test_it_refuses_to_come_too_late(trainer: Path) -> None:
    (trainer / "nemo_rl/environments/nemo_gym.py").write_text(ACTOR.format(method=STREAMING))
    late = "import nemo_rl.algorithms.grpo\nfrom gym_ray.integrations.nemo_rl import install\ninstall()\n"
    (trainer / "late.py").write_text(late)
    env = {"PYTHONPATH": f"{trainer}:{Path.cwd()}", "PATH": "/usr/bin:/bin", "HOME": str(trainer)}
    done = subprocess.run(
        [sys.executable, "late.py"], cwd=trainer, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert "nemo_rl.algorithms.grpo has already taken NeMo-RL's NemoGym" in done.stderr


def test_nothing_heavy_is_imported() -> None:
    code = """
import sys
import gym_ray.integrations.nemo_rl.actor, gym_ray.integrations.nemo_rl.launch
sys.exit(' '.join({'torch', 'transformers', 'nemo_rl'} & set(sys.modules)) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
