"""Rules that hold for the whole tree: direction of imports, size and docstrings of modules, configuration files."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from gym_ray.cli.compose import compose_settings, conf_dir, group_choices
from gym_ray.cli.submit import SubmitRequest
from gym_ray.collect.config import RunConfig
from gym_ray.resources.load import load_server

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(ROOT.glob("gym_ray/**/*.py"))
CHOICES = [(group, choice) for group, choices in group_choices([conf_dir()]).items() for choice in choices]
NEEDED = {
    ("model", "openai"): ["model.name=x", "model.base_url=http://x/v1"],
    ("model", "nim"): ["model.name=x"],
    ("model", "vllm"): ["model.serve.path=x"],
    ("env", "nemo_gym"): ["env.options.server=x"],
    ("agent", "http"): ["agent.url=http://x/run"],
    ("cluster", "ray_up/gcp"): ["cluster.launcher.project=x"],
    ("cluster", "ray_up/local"): ["cluster.launcher.head_ip=x", "cluster.launcher.worker_ips=[]"],
}
"""What a choice leaves to the user."""
MAX_LINES, MAX_FUNCTION_LINES = 400, 60


def test_imports_point_downwards() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["gym_ray", "gym_ray.cli.main", "gym_ray.collect.config"])
def test_light_modules_load_nothing_heavy(module: str) -> None:
    heavy = "{'ray', 'torch', 'vllm', 'hydra', 'transformers'}"
    code = f"import sys, {module}; sys.exit(' '.join({heavy} & set(sys.modules)) or None)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{module} loads {done.stderr}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "no module docstring"
    assert len(text.splitlines()) <= MAX_LINES
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES]
    assert not long


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=["=".join(pair) for pair in CHOICES])
def test_every_configuration_file_composes(group: str, choice: str) -> None:
    if group == "cluster":
        compose_settings([f"cluster={choice}", *NEEDED.get((group, choice), [])], SubmitRequest)
        return
    words = [f"{group}={choice}", "run_dir=unused", *NEEDED.get((group, choice), [])]
    config, _ = compose_settings(words, RunConfig)
    for environment in config.envs.values():
        load_server(environment.server)


def test_there_is_a_choice_to_make() -> None:
    assert {group for group, _ in CHOICES} >= {"env", "model", "agent", "collect"}
