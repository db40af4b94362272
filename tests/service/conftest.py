"""What tests of the live service share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gym_ray.collect.config import RunConfig

ENVS = "tests/support/envs.py"


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., RunConfig]:
    """``make_config(base_url, "Sum", "Poison", **collect settings)``: environments by their classes, in lower case."""

    def make(base_url: str, *servers: str, **collect: object) -> RunConfig:
        return RunConfig.model_validate(
            {
                "run_dir": str(tmp_path / "run"),
                "envs": {server.lower(): {"server": f"{ENVS}:{server}"} for server in servers},
                "model": {"base_url": base_url, "name": "scripted", "retry": {"base_s": 0.02, "max_s": 0.1}},
                "collect": {"agent_cpus": 0.1, "rollouts_per_task": 4, **collect},
            }
        )

    return make
