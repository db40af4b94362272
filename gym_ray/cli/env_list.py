"""``gym-ray env list``: the environments that ``env=NAME`` can choose."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from gym_ray.cli.compose import conf_dir, group_choices, member_option, split_options
from gym_ray.cli.environment import Environment, find_environment
from gym_ray.cli.main import DONE
from gym_ray.cli.tables import cell, output
from gym_ray.types.errors import UserError

HELP = """\
usage: gym-ray env list [--config-dir DIR]

Every environment under conf/env (and DIR/env), with what it grades and how it is shaped.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    rest, folders = split_options(words)
    if rest:
        raise UserError(f"env list takes no `{rest[0]}`")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("name", "what it is", "tools", "shape"):
        table.add_column(title, overflow="fold")
    places = [*folders, conf_dir()]
    for choice in group_choices(places).get("env", []):
        name = f"{choice}/NAME" if member_option(choice, places) else choice
        found = find_environment(name, words)
        summary = _comment(choice, places) or _docstring(found)
        table.add_row(name, cell(summary), str(len(found.server.tools()) or ""), ", ".join(found.traits))
    output().print(table)
    return DONE


def _comment(choice: str, places: Sequence[Path]) -> str:
    """First sentence of the comment that the choice's file begins with: several choices may share a class."""
    file = next(path for place in places if (path := place / "env" / f"{choice}.yaml").is_file())
    line = file.read_text(encoding="utf-8").partition("\n")[0]
    sentence, end, _ = line.removeprefix("#").strip().removesuffix(":").partition(". ")
    return sentence + end.strip() if line.startswith("#") else ""


def _docstring(environment: Environment) -> str:
    """First line of the module's docstring, else of the class's."""
    module = inspect.getmodule(environment.server)
    text = (module.__doc__ if module else None) or environment.server.__doc__ or ""
    return inspect.cleandoc(text).partition("\n")[0].removesuffix(".") + "."
