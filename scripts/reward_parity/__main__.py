"""``scripts/parity PATH [ENVIRONMENT...]``: a table of our rewards against the recorded ones."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reward_parity.replay import Parity, compare

EXPLAINED = {
    "math": "one comparison takes math-verify five seconds, ours ends after two: the recorded reward is right",
    "mcqa": "recorded by an older version that did not read `C: its text` in a box, as 0.7 and we do",
    "multi_reward": "the message that NeMo Gym's agent lets the model write after the call costs `format` there",
}
"""Environments whose differences their cards account for."""


def main(words: list[str]) -> int:
    """The exit code."""
    if not words or words[0] in ("-h", "--help"):
        print("usage: scripts/parity PATH [ENVIRONMENT...]   PATH: an unpacked nemo-gym with resources_servers/")
        return 0 if words else 2
    root = Path(words[0])
    if not (root / "resources_servers").is_dir():
        print(f"parity: {root} has no resources_servers/", file=sys.stderr)
        return 2
    parities = compare(root, words[1:])
    console = Console()
    console.print(_table(parities))
    for parity in parities:
        for line in (*parity.differences, *parity.ungraded):
            console.print(f"{parity.environment}: {line}", soft_wrap=True, markup=False, highlight=False)
        if parity.differences and parity.environment in EXPLAINED:
            console.print(f"{parity.environment}: why: {EXPLAINED[parity.environment]}", soft_wrap=True, markup=False)
    unexplained = sum(len(parity.differences) for parity in parities if parity.environment not in EXPLAINED)
    print(_summary(parities, unexplained))
    return 1 if unexplained else 0


def _table(parities: list[Parity]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("environment", "recorded by", "rows", "agree", "differ", "not graded"):
        table.add_column(title, overflow="fold")
    for parity in parities:
        counts = (parity.rows, parity.agree, len(parity.differences), len(parity.ungraded))
        table.add_row(parity.environment, ", ".join(parity.places), *map(str, counts))
    return table


def _summary(parities: list[Parity], unexplained: int) -> str:
    rows, agree = sum(parity.rows for parity in parities), sum(parity.agree for parity in parities)
    differ, ungraded = (sum(len(getattr(parity, name)) for parity in parities) for name in ("differences", "ungraded"))
    return (
        f"{len(parities)} environments, {rows} rows: {agree} agree, {differ} differ ({unexplained} unexplained), "
        f"{ungraded} not graded"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
