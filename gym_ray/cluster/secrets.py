"""Secrets on a cluster: each process that needs one finds it in its environment.

A job says which variables it needs, never what is in them. Their values are the cluster's business: variables of its
nodes (a Kubernetes Secret), or files that only its user reads. :func:`install` runs in the driver and, by Ray's hook,
in each worker process before its first task.
"""

from __future__ import annotations

import os
from pathlib import Path

from gym_ray.types.errors import UserError

NAMES, FOLDER = "GYM_RAY_SECRETS", "GYM_RAY_SECRETS_DIR"
HOOK = "gym_ray.cluster.secrets.install"
"""For ``worker_process_setup_hook`` of a runtime environment."""


def install() -> list[str]:
    """Put what files hold into this process's environment; returns the names that are nowhere."""
    folder = os.environ.get(FOLDER)
    missing = []
    for name in filter(None, os.environ.get(NAMES, "").split(",")):
        if folder and (file := Path(folder, name)).is_file():
            os.environ[name] = file.read_text().strip()
        elif not os.environ.get(name):
            missing.append(name)
    return missing


def require() -> None:
    """:func:`install` for the driver, which can tell what is missing.

    Raises:
        UserError: a secret is nowhere.
    """
    if missing := install():
        folder = os.environ.get(FOLDER)
        files = f", or in a file of that name in {folder}" if folder else ", or set cluster.secrets_dir"
        raise UserError(f"cluster.secrets: {', '.join(missing)} is not set on the cluster's head{files}")
