"""The configuration files that come with the package, and the environments that they name.

A choice ``env=NAME`` is ``conf/env/NAME.yaml``: one :class:`EnvironmentConfig`. What such a file sets to ``???`` is
left to the user.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

import gym_ray

LEFT_TO_USER = "???"


def shipped(folder: str) -> Path:
    """A folder that comes with the package: inside it when installed, beside it in a source checkout."""
    package = Path(gym_ray.__file__).parent
    return package / folder if (package / folder).is_dir() else package.parent / folder


def conf_dir() -> Path:
    """The configuration files."""
    return shipped("conf")


def library() -> dict[str, dict[str, Any]]:
    """The settings of every environment that leaves nothing to the user, by name, sorted."""
    found = {file.stem: yaml.safe_load(file.read_text()) for file in sorted((conf_dir() / "env").glob("*.yaml"))}
    return {
        name: settings
        for name, settings in found.items()
        if LEFT_TO_USER not in (settings.get("options") or {}).values()
    }
