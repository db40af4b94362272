"""``gym-ray compare``: two runs on their common tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from gym_ray.cli.main import DONE
from gym_ray.cli.profile import Parser, parse_thresholds, write_json
from gym_ray.cli.runs_show import run_address
from gym_ray.cli.tables import cell, interval, new_table, output, printable
from gym_ray.runs.compare import compare_runs

HELP = """\
usage: gym-ray compare RUN_A RUN_B [--threshold [ENV=]REWARD]... [--flips N] [--json FILE]

  gym-ray compare runs/before runs/after
  gym-ray compare runs/before runs/after --threshold 0.5     a reward of 0.5 or more is a success
  gym-ray compare runs/before runs/after --json c.json       all numbers and all flips, as JSON

Per environment, on the tasks that both runs have: mean rewards, their difference (B minus A) with a 95 % interval
over tasks, and p of a paired test (sign flips), as it is and after Holm's correction over the environments. Flips are
tasks that one run solves and the other does not (half of the scored rollouts succeed, or more); the --flips (20)
largest are listed. Masked and failed rollouts, and tasks of one run only, stand beside and are in no mean.
What each number is: docs/profile.md. Exit codes: 0 done, 2 no such run, or nothing in it yet.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    parser = Parser("compare", add_help=False, allow_abbrev=False)
    parser.add_argument("first", metavar="RUN_A")
    parser.add_argument("second", metavar="RUN_B")
    parser.add_argument("--threshold", action="append", default=[])
    parser.add_argument("--flips", type=int, default=20)
    parser.add_argument("--json")
    given = parser.parse_args(list(words))
    first, second = run_address(given.first), run_address(given.second)
    found = compare_runs(first, second, parse_thresholds(given.threshold, first, second))
    if given.json:
        write_json(given.json, found)
    _print(found, max(0, given.flips))
    return DONE


def _print(found: Mapping[str, Any], limit: int) -> None:
    console, environments = output(), found["environments"]
    for side in ("a", "b"):
        console.print(f"{side.upper()}: {found[side]}", soft_wrap=True, markup=False)
    for note in found["notes"]:
        console.print(printable(note), style="yellow", soft_wrap=True, markup=False)
    for table in (_differences(environments), _coverage(environments)):
        console.print()
        console.print(table)
    if (flips := _flips(environments, limit)).row_count:
        console.print()
        console.print(flips)
        if (more := sum(len(its["flips"]) for its in environments.values()) - flips.row_count) > 0:
            console.print(f"and {more:,} more (--flips, --json)")


def _differences(environments: Mapping[str, Any]) -> Table:
    numbers = ("common tasks", "reward A", "reward B", "B - A [95 %]", "p", "p, Holm", "solved in A only", "in B only")
    table = new_table(("environment",), numbers)
    for name, its in environments.items():
        means = ("-" if (reward := its[side]["reward"]) is None else f"{reward['mean']:.3f}" for side in ("a", "b"))
        tests = ("-" if its[key] is None else f"{its[key]:.3g}" for key in ("p", "p_corrected"))
        flips = (f"{its[key]:,}" for key in ("solved_only_in_a", "solved_only_in_b"))
        difference = interval(its["reward_difference"], signed=True)
        table.add_row(cell(name), f"{its['common_tasks']:,}", *means, difference, *tests, *flips)
    return table


def _coverage(environments: Mapping[str, Any]) -> Table:
    sides = [f"{outcome} {side}" for side in "AB" for outcome in ("scored", "masked", "failed")]
    table = new_table(("environment",), (*sides, "tasks in A only", "in B only", "unscored in one"))
    for name, its in environments.items():
        counts = [its[side][outcome] for side in "ab" for outcome in ("scored", "masked", "failed")]
        counts += [its[key] for key in ("only_in_a", "only_in_b", "unscored_tasks")]
        table.add_row(cell(name), *(f"{count:,}" for count in counts))
    return table


def _flips(environments: Mapping[str, Any], limit: int) -> Table:
    """The largest changes first, over all environments."""
    table = new_table(("environment", "task", "solved in"), ("pass rate A", "pass rate B"))
    flips = [(name, flip) for name, its in environments.items() for flip in its["flips"]]
    flips.sort(key=lambda one: -abs(one[1]["pass_rate_b"] - one[1]["pass_rate_a"]))
    for name, flip in flips[:limit]:
        rates = (f"{flip[key]:.2f}" for key in ("pass_rate_a", "pass_rate_b"))
        table.add_row(cell(name), cell(flip["task_id"]), flip["solved_in"].upper(), *rates)
    return table
