"""Whole collections over foreign environments: real Ray, a scripted endpoint, the foreign package itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gym_ray.collect.config import RunConfig
from gym_ray.collect.driver import collect
from tests.support.endpoint import EndpointProcess
from tests.support.runs import jsonl_rows

Collected = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def collected(tmp_path: Path, ray_cluster: dict[str, Any]) -> Collected:
    """``collected(server, options, task rows, script)``: the rows of a finished run, two rollouts per task."""

    def run(server: str, options: dict[str, Any], tasks: list[dict[str, Any]], script: str) -> list[dict[str, Any]]:
        path = tmp_path / "tasks.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in tasks))
        with EndpointProcess(f"tests.integrations.scripts:{script}") as base_url:
            collect(
                RunConfig.model_validate(
                    {
                        "run_dir": str(tmp_path / "run"),
                        "envs": {"foreign": {"server": server, "options": options, "tasks": str(path)}},
                        "model": {"base_url": base_url, "name": "scripted"},
                        "collect": {"agent_cpus": 0.1, "rollouts_per_task": 2},
                    }
                )
            )
        assert not jsonl_rows(tmp_path / "run", "failures")
        return jsonl_rows(tmp_path / "run")

    return run


def task(text: str = "Begin.", **fields: Any) -> dict[str, Any]:
    """A task row."""
    return {"responses_create_params": {"input": text}, **fields}
