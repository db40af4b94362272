"""Tables that several verbs print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # importing it for real would load Ray, which reading a run does not need
    from gym_ray.collect.output.finalize import Summary

WIDE = 160
NUMBERS = ("rollouts", "scored", "masked", "failed", "reward", "turns", "tokens", "seconds")


def output() -> Console:
    """Standard output. What is no terminal (a file, a pipe) gets whole lines, not lines cut at 80 columns."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


def new_table(texts: Sequence[str], numbers: Sequence[str]) -> Table:
    """A table without lines: text columns left, numbers right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in texts:
        table.add_column(title, no_wrap=True)
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def printable(text: str) -> str:
    """Text that a model or a task wrote, harmless to a terminal: control and bidi characters are spelled out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def cell(text: str) -> Text:
    """A name as a table's cell; brackets in it are no markup."""
    return Text(printable(text))


def interval(estimate: Mapping[str, Any] | None, signed: bool = False) -> str:
    """``0.443 [0.381, 0.505]``; ``-`` where there is none."""
    if estimate is None:
        return "-"
    style = "+.3f" if signed else ".3f"
    mean = format(estimate["mean"], style)
    low, high = estimate["low"], estimate["high"]
    return mean if low is None else f"{mean} [{low:{style}}, {high:{style}}]"


def outcome_table(environments: dict[str, dict[str, Any]]) -> Table:
    """One row per environment of ``metrics.json``. Reward, turns, sampled tokens and seconds are means."""
    table = new_table(("environment",), NUMBERS)
    for name, its in environments.items():
        counts = [its["scored"], its["masked"], its["failed"]]
        reward = "-" if its["reward"] is None else f"{its['reward']['mean']:.3f}"
        seconds = its["seconds"].get("total", {}).get("mean")
        table.add_row(
            cell(name),
            *(f"{count:,}" for count in [sum(counts), *counts]),
            reward,
            f"{its['turns']['mean']:.1f}",
            f"{its['sampled_tokens']['mean']:,.0f}",
            "-" if seconds is None else f"{seconds:.2f}",
        )
    return table


def kinds_table(environments: dict[str, dict[str, Any]]) -> Table | None:
    """Failed and masked rollouts by kind; None when there are none."""
    table = new_table(("environment", "failed or masked because"), ("rollouts",))
    for name, its in environments.items():
        for kind, count in its["failure_kinds"].items():
            table.add_row(cell(name), cell(kind), f"{count:,}")
    return table if table.row_count else None


def print_summary(summary: Summary) -> None:
    """What ``collect`` ends with."""
    console = output()
    console.print()
    console.print(outcome_table(summary.environments))
    if (kinds := kinds_table(summary.environments)) is not None:
        console.print()
        console.print(kinds)
    console.print(f"\n{summary.report()}", soft_wrap=True)
    for line in summary.damage:
        console.print(line, style="yellow", soft_wrap=True)
    console.print(f"run directory: {summary.run}", soft_wrap=True)
    console.print(f"look again:    gym-ray runs show {summary.run}", soft_wrap=True)
