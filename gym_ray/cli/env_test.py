"""``gym-ray env test``: does an environment keep what it promises?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from gym_ray.cli.environment import find_environment, one_choice
from gym_ray.cli.main import DONE, FAILED
from gym_ray.cli.tables import output
from gym_ray.resources.contract import CheckResult, check, load_golden
from gym_ray.types.errors import UserError

GOLDEN = "golden.jsonl"

HELP = """\
usage: gym-ray env test NAME|PATH:Class [env.options.KEY=VALUE]...

  gym-ray env test workplace
  gym-ray env test inventory/inventory.py:Inventory

Uses examples.jsonl and golden.jsonl beside the class's file. Checks tool schemas, that every example is a valid
task, that every golden trajectory gets the reward it should, that close can be repeated, that sessions running
side by side do not touch each other, and that nothing holds the event loop for long.
Exit codes: 0 all checks passed, 1 not.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    choice, settings = one_choice(words, "env test")
    found = find_environment(choice, settings)
    examples = found.server.examples(found.config.options)
    golden = examples.with_name(GOLDEN)
    rows = _rows(examples) if examples.is_file() else []
    recorded = load_golden(golden) if golden.is_file() else []
    results = asyncio.run(check(found.config.server, rows, recorded, found.config.options))
    output().print(_table(results))
    return DONE if all(result.passed for result in results) else FAILED


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line) if line.strip() else None
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number}: not JSON: {error}") from error
        if row is not None:
            rows.append(row)
    return rows


def _table(results: Sequence[CheckResult]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_column(overflow="fold")
    for result in results:
        verdict = "[green]ok[/]" if result.passed else "[red]failed[/]"
        table.add_row(result.name, verdict, escape(result.detail))
    return table
