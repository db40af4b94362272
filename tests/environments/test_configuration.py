"""The files of ``conf/env`` fit the settings record and the classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import gym_ray
from gym_ray.environments import catalog
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.load import make_server

FOLDER = Path(gym_ray.__file__).parent.parent / "conf" / "env"


@pytest.mark.parametrize("name", catalog.names())
def test_file(name: str) -> None:
    config = EnvironmentConfig.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))
    server = make_server(config)
    assert not (server.pure and server.cpu_bound)
    assert config.aliases
    assert all(len(spec.definition["name"]) < 64 for spec in server.offered_tools().values())


def test_no_alias_twice() -> None:
    aliases = [alias for file in FOLDER.glob("*.yaml") for alias in yaml.safe_load(file.read_text()).get("aliases", [])]
    # With a judge or without: which of the two, the run says.
    assert {alias for alias in aliases if aliases.count(alias) > 1} <= {"math_with_judge_simple_agent"}
