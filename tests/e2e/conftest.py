"""What end-to-end tests share: task files and run settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from gym_ray.collect.config import RunConfig

ENVS = "tests/support/envs.py"


def rows(prompts: Iterable[str], **fields: Any) -> list[dict[str, Any]]:
    """One task row per prompt, with ids t0, t1, ..."""
    return [
        {"task_id": f"t{number}", "responses_create_params": {"input": prompt}, **fields}
        for number, prompt in enumerate(prompts)
    ]


def sums(count: int) -> list[dict[str, Any]]:
    """Rows for ``Sum``."""
    return [{**row, "expected": number + 1} for number, row in enumerate(rows(f"sum {n} 1" for n in range(count)))]


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., RunConfig]:
    """``make_config(base_url, {env name: (class, rows)}, **collect settings)`` with a run directory of its own."""

    def make(base_url: str, envs: dict[str, tuple[str, list[dict[str, Any]]]], **collect: Any) -> RunConfig:
        environments = {}
        for name, (server, tasks) in envs.items():
            path = tmp_path / f"{name}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in tasks))
            environments[name] = {"server": f"{ENVS}:{server}", "tasks": str(path)}
        return RunConfig.model_validate(
            {
                "run_dir": str(tmp_path / "run"),
                "envs": environments,
                "model": {"base_url": base_url, "name": "scripted", "retry": {"base_s": 0.02, "max_s": 0.1}},
                "collect": {"agent_cpus": 0.1, **collect},
            }
        )

    return make
