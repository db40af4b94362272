"""``gym-ray tasks prepare``: the published data of a recipe, made into its task files."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import orjson

from gym_ray.cli.main import DONE
from gym_ray.cli.recipe import compose_recipe
from gym_ray.cli.tables import cell, new_table, output
from gym_ray.collect.tasks.placeholders import SOURCES
from gym_ray.collect.tasks.prepare import Report, Split, Wishes, prepare
from gym_ray.plan.recipe import RecipeConfig
from gym_ray.resources.load import load_servers
from gym_ray.types.errors import UserError

HELP = """\
usage: gym-ray tasks prepare recipe=NAME in=PATH [out=DIR] [dapo=PATH] [skywork=PATH] [validation=N] [on_bad_row=skip]

  gym-ray tasks prepare recipe=nemotron3_super/rlvr1 in=blends/rlvr1.jsonl dapo=DAPO-Math-17k/data \\
      skywork=Skywork-OR1-RL-Data/data/math-00000-of-00001.parquet

in: the published file (or files, in name order), downloaded beforehand. dapo, skywork: the data sets that its
placeholder rows point into, as they are on the hub; only for blends that have such rows. out: default is where the
recipe looks for its tasks. validation: the last N rows; the default is the recipe's.

Every row is given its environment and held against it. Bad rows are named with file, line and field and nothing is
written; on_bad_row=skip puts them into bad_rows.jsonl and goes on. Order is kept. Exit codes: 0 done, 2 usage.
"""
KEYS = ("recipe", "in", "out", "validation", "on_bad_row", *SOURCES)


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    values = _values(words)
    recipe = compose_recipe(values["recipe"]).config
    wishes = _wishes(values, recipe)
    servers = load_servers(recipe.envs)
    report = prepare(wishes, recipe.envs, servers)
    _show(report, wishes, values["recipe"])
    return DONE


def _values(words: Sequence[str]) -> dict[str, str]:
    values = {}
    for word in words:
        key, mark, value = word.partition("=")
        if not mark or key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            hint = f"nearest: {near[0]}" if near else f"there are: {', '.join(KEYS)}"
            raise UserError(f"`{key}` is no setting here; {hint}")
        values[key] = value
    for key, what in {"recipe": "NAME (gym-ray recipe list)", "in": "PATH (the published file)"}.items():
        if not values.get(key):
            raise UserError(f"{key}={what} is missing")
    return values


def _wishes(values: dict[str, str], recipe: RecipeConfig) -> Wishes:
    data, policy = recipe.recipe.data, values.get("on_bad_row", "stop")
    if policy not in ("stop", "skip"):
        raise UserError(f"on_bad_row={policy}: must be stop or skip")
    count = values.get("validation", str(data.validation_rows))
    if not count.isdecimal():
        raise UserError(f"validation={count}: must be a whole number")
    pointed = {source: values[source] for source in SOURCES if values.get(source)}
    out = values.get("out") or data.folder
    return Wishes(values["in"], out, int(count), pointed, data.routes, "stop" if policy == "stop" else "skip")


def _show(report: Report, wishes: Wishes, recipe: str) -> None:
    splits = get_args(Split)
    table = new_table(("environment", "agents in the rows"), splits)
    for name, counts in sorted(report.environments.items()):
        agents = [agent for agent, environment in report.agents.items() if environment == name]
        table.add_row(cell(name), cell(", ".join(sorted(agents)) or "-"), *(f"{counts[split]:,}" for split in splits))
    console = output()
    console.print(table)
    for source, count in sorted(report.filled.items()):
        console.print(f"{count:,} rows filled in from {source}")
    totals = " + ".join(
        f"{sum(counts[split] for counts in report.environments.values()):,} {split}" for split in splits
    )
    console.print(f"{report.rows:,} rows = {totals} + {report.bad:,} bad", soft_wrap=True)
    console.print(f"written to {wishes.out}; next: gym-ray recipe run {recipe} --dry-run", soft_wrap=True)
    summary = {
        "recipe": recipe,
        "in": wishes.files,
        "rows": report.rows,
        "bad": report.bad,
        "environments": {name: dict(counts) for name, counts in sorted(report.environments.items())},
        "filled": dict(report.filled),
        "agents": report.agents,
    }
    Path(wishes.out).expanduser().joinpath("prepared.json").write_bytes(
        orjson.dumps(summary, option=orjson.OPT_INDENT_2)
    )
