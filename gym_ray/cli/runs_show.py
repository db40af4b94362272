"""``gym-ray runs show``: one run, from its own files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import orjson

from gym_ray.cli.main import DONE
from gym_ray.cli.tables import kinds_table, outcome_table, output
from gym_ray.runs.read import RunRecord, read_run
from gym_ray.types.errors import UserError

HELP = """\
usage: gym-ray runs show RUN [--json]

RUN is a run directory, or the name of one in runs/. --json prints config, plan, manifest and metrics as one object.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    names = [word for word in words if word != "--json"]
    if len(names) != 1 or names[0].startswith("-"):
        raise UserError("runs show takes one run directory")
    found = read_run(run_address(names[0]))
    if "--json" in words:
        parts = {part: getattr(found, part) for part in ("address", "state", "config", "plan", "manifest", "metrics")}
        print(orjson.dumps(parts, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(found)
    return DONE


def run_address(name: str) -> str:
    """A bare name that is no folder here may be one in ``runs/``."""
    in_runs = Path("runs") / name
    return str(in_runs) if "/" not in name and not Path(name).exists() and in_runs.is_dir() else name


def _print(found: RunRecord) -> None:
    console = output()

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    model, collect = found.config.get("model", {}), found.config.get("collect", {})
    say(f"{found.address}: {found.state}, {found.finished:,} of {found.expected:,} rollouts")
    say(f"model {model.get('name')} ({model.get('kind')}), {collect.get('rollouts_per_task')} rollouts per task")
    if found.plan:
        say(f"{found.plan['tasks']:,} tasks, {found.plan['bad_rows']:,} bad rows left out")
    if found.environments:
        console.print()
        console.print(outcome_table(found.environments))
        reasons: Counter[str] = Counter()
        for its in found.environments.values():
            reasons.update(its["finish_reasons"])
        say(f"\nended by: {', '.join(f'{reason} {count:,}' for reason, count in reasons.most_common())}")
    if (kinds := kinds_table(found.environments)) is not None:
        console.print()
        console.print(kinds)
    if files := found.manifest.get("files"):
        say("\nfiles:")
        for made in files:
            say(f"  {made['path']}   {made['rows']:,} rows, {made['bytes'] / 1e6:,.1f} MB")
    if recorded := found.config.get("recorded"):
        say(f"\nverified again from {recorded}")
    if found.state != "complete":
        say(f"\nto go on: gym-ray collect ... run_dir={found.address}")
    if found.state == "unfinished":
        say(f"shards of what there is: gym-ray runs recover {found.address}")
