"""What goes along with a job: the project's folder, and the words of its command as they are right over there.

A job begins in an unpacked copy of the project, so a path in it is found under the path relative to it. Absolute
paths of shared storage pass as they are. Ray does the packing, and honours ``.gitignore`` and ``.rayignore``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gym_ray.cluster.config import ClusterConfig
from gym_ray.cluster.secrets import FOLDER, HOOK, NAMES
from gym_ray.types.errors import UserError

STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
"""Where Ray's job supervisor reads how long a stopped job may take (3 s otherwise)."""


def runtime_env(config: ClusterConfig) -> dict[str, Any]:
    """The job's runtime environment: the project, and variables that everybody may see.

    Raises:
        UserError: there is no such folder, or a variable is both open and secret.
    """
    folder = _folder(config)
    if both := sorted(set(config.env) & set(config.secrets)):
        raise UserError(f"cluster.env.{both[0]}: its value would be part of the job; it is one of cluster.secrets")
    variables = {**config.env, STOP_WAIT: str(config.drain_s)}
    environment: dict[str, Any] = {"working_dir": str(folder), "excludes": config.excludes, "env_vars": variables}
    if config.secrets:
        variables[NAMES] = ",".join(config.secrets)
        environment["worker_process_setup_hook"] = HOOK
    if config.secrets_dir:
        variables[FOLDER] = config.secrets_dir
    return environment


def relocate(words: Sequence[str], config: ClusterConfig) -> list[str]:
    """``words`` with paths of the project relative to it.

    Raises:
        UserError: an environment's file or a relative path lies outside the project.
    """
    folder = _folder(config)
    return [_moved(word, folder) for word in words]


def _moved(word: str, folder: Path) -> str:
    key, mark, value = word.rpartition("=")
    parts = [_moved_path(key, part, folder) for part in value.split(",")]
    return key + mark + ",".join(parts)


def _moved_path(key: str, text: str, folder: Path) -> str:
    name, colon, rest = text.partition(":")
    is_code = key == "env" and name.endswith(".py")
    if not is_code and ("/" not in name or Path(name).is_absolute() or not Path(name).exists()):
        return text
    path = Path(name).expanduser().absolute()
    try:
        return str(path.resolve().relative_to(folder)) + colon + rest
    except ValueError:
        reason = f"it is outside the project {folder}, and would not go along"
        raise UserError(f"{key or name}={text}: {reason}; cluster.project=FOLDER names one that has it") from None


def _folder(config: ClusterConfig) -> Path:
    folder = Path(config.project).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"cluster.project={config.project}: no such folder")
    return folder
