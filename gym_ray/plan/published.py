"""The table of ``recipes/README.md``: each recipe's values beside the published ones, as Markdown.

A recipe made of another one shows only the rows in which the two differ. ``scripts/recipe_table``
writes the table into the file; a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from gym_ray.plan.plan import FactRow, fact_rows
from gym_ray.plan.recipe import RecipeConfig

BEGIN, END = "<!-- table of values: scripts/recipe_table -->", "<!-- end of the table -->"
HEAD = ["| recipe | setting | ours | published | source | why ours differs |", "|---|---|---|---|---|---|"]


def table(recipes: Iterable[tuple[str, str | None, RecipeConfig]]) -> str:
    """One table of all ``recipes``: name, the recipe that it is made of, settings. Those it is made of come first."""
    shown: dict[str, dict[str, FactRow]] = {}
    lines = list(HEAD)
    for name, whole, config in recipes:
        rows = {row.name: row for row in fact_rows(config)}
        if whole is not None:
            lines.append(f"| **{name}** | as {whole}, but for what follows and its data | | | | |")
        lines += _lines(name, rows, shown.get(whole or ""))
        shown[name] = rows
    return "\n".join(lines)


def _lines(name: str, rows: dict[str, FactRow], whole: dict[str, FactRow] | None) -> Iterator[str]:
    for row in rows.values():
        if whole is None or whole.get(row.name) != row:
            why = "" if row.same else row.fact.why or ""
            cells = [f"`{row.name}`", _cell(row.ours), _cell(row.fact.published), row.fact.source, why]
            yield f"| {name} | {' | '.join(cells)} |"


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return " ".join(text.split()).replace("|", "\\|")


def written(text: str, new: str) -> str:
    """``text`` with ``new`` in the place of its table."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{new}\n{END}{rest.partition(END)[2]}"
