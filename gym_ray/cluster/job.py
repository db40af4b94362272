"""``python -m gym_ray.cluster.job VERB WORDS...``: the entry point of a submitted job, on the cluster's head."""

from __future__ import annotations

import sys

from gym_ray.cluster.secrets import require
from gym_ray.types.errors import UserError


def run(words: list[str]) -> int:
    """The command's exit code, once its secrets are in place."""
    import importlib

    try:
        require()
    except UserError as error:
        print(f"gym-ray: {error}", file=sys.stderr)
        return 2
    # By name: this package is below the command line, whose words it only passes on.
    code: int = importlib.import_module("gym_ray.cli.main").main(words)
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
