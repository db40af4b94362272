"""``gym-ray runs list``: the runs in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from gym_ray.cli.main import DONE
from gym_ray.cli.tables import output
from gym_ray.runs.read import list_runs
from gym_ray.types.errors import UserError

HELP = """\
usage: gym-ray runs list [DIR]

The runs directly in DIR (default: runs), newest first.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    if len(words) > 1 or (words and words[0].startswith("-")):
        raise UserError("runs list takes one folder")
    folder = words[0] if words else "runs"
    runs = list_runs(folder)
    if not runs:
        raise UserError(f"no run in {folder}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("run", "environments", "model", "state", "rollouts", "mean reward"):
        table.add_column(title, justify="right" if title in ("rollouts", "mean reward") else "left", overflow="fold")
    for found in runs:
        reward = "-" if found.mean_reward is None else f"{found.mean_reward:.3f}"
        table.add_row(
            Path(found.address).name,
            ", ".join(found.config.get("envs", {})),
            str(found.config.get("model", {}).get("name", "-")),
            str(found.state),
            f"{found.finished:,}/{found.expected:,}",
            reward,
        )
    output().print(table)
    return DONE
