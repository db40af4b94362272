"""``gym-ray runs list``: the runs in a folder."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from gym_ray.cli.main import DONE
from gym_ray.cli.tables import output
from gym_ray.runs.read import list_runs
from gym_ray.types.errors import UserError

HELP = """\
usage: gym-ray runs list [DIR]...

  gym-ray runs list
  gym-ray runs list runs s3://bucket/runs

The runs directly in each DIR (default: runs), on any filesystem, newest first. reverify, profile, compare, report,
export and runs show take the same addresses.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    if any(word.startswith("-") for word in words):
        raise UserError("runs list takes folders only")
    folders = words or ["runs"]
    runs = [found for folder in folders for found in list_runs(folder)]
    if not runs:
        raise UserError(f"no run in {', '.join(folders)}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("run", "environments", "model", "state", "rollouts", "mean reward"):
        table.add_column(title, justify="right" if title in ("rollouts", "mean reward") else "left", overflow="fold")
    for found in runs:
        reward = "-" if found.mean_reward is None else f"{found.mean_reward:.3f}"
        table.add_row(
            found.address.rpartition("/")[2] if len(folders) == 1 else found.address,
            ", ".join(found.config.get("envs", {})),
            str(found.config.get("model", {}).get("name", "-")),
            str(found.state),
            f"{found.finished:,}/{found.expected:,}",
            reward,
        )
    output().print(table)
    return DONE
