"""``gym-ray recipe list``: recipes by name."""

from __future__ import annotations

from collections.abc import Sequence

from gym_ray.cli.main import DONE
from gym_ray.cli.recipe import compose_recipe, recipe_names
from gym_ray.cli.tables import cell, new_table, output
from gym_ray.types.errors import UserError

HELP = """\
usage: gym-ray recipe list

Names, sizes and what each is. gym-ray recipe show NAME says all about one. The whole story: recipes/README.md.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    if words:
        raise UserError(f"recipe list takes no words (`{words[0]}`)")
    table = new_table(("recipe", ""), ("environments", "GPUs"))
    for name in recipe_names():
        config = compose_recipe(name).config
        gpus = sum(config.recipe.nodes.values()) * config.recipe.hardware.gpus_per_node
        if config.recipe.generation.colocated:
            gpus -= config.recipe.nodes.get("policy", 0) * config.recipe.hardware.gpus_per_node
        table.add_row(cell(name), cell(config.recipe.title), str(len(config.envs)), f"{gpus:,}")
    output().print(table)
    return DONE
