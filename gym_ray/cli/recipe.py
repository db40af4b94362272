"""Recipes by name, and from a name and further words to the settings of a run.

A recipe is a file of ``recipes/FAMILY/``, chosen as ``FAMILY/NAME``. It is composed like any run: words change its
settings, ``model=CHOICE`` its model, ``judges.NAME=CHOICE`` a judge, and ``env=NAME,NAME`` keeps only those of its
environments.

``model=tiny`` (or a recipe that says so itself) makes a rehearsal: the whole shape on one machine. The policy then
judges as well, what is sized for a cluster is sized for a laptop, and environments that NeMo Gym hosts are left out.
What the words say goes before that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from gym_ray.cli.arguments import Base
from gym_ray.cli.compose import compose_settings, recipes_dir
from gym_ray.plan.recipe import RecipeConfig
from gym_ray.resources.judge import POLICY
from gym_ray.types.errors import UserError

MARK = "# @package _global_"
"""How a recipe's file begins. Other files of a family (``_base.yaml``) are parts of recipes."""
EMBEDDED = "gym_ray.models.tiny"
HOSTED = "gym_ray.integrations.nemo_gym:"
"""Environments that need NeMo Gym itself."""
ANSWER, TURNS = 64, 4
"""Tokens of an answer (a judge's too), and turns of a rollout, in a rehearsal: the shape is what counts."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A composed recipe. ``rehearsal``: the embedded model plays all parts, without the environments ``left_out``."""

    name: str
    config: RecipeConfig
    rehearsal: bool
    left_out: tuple[str, ...] = ()


def recipe_names() -> list[str]:
    """All recipes, sorted."""
    files = sorted(recipes_dir().glob("*/*.yaml"))
    return [f"{file.parent.name}/{file.stem}" for file in files if _is_recipe(file)]


def made_of(name: str) -> str | None:
    """The recipe that the recipe ``name`` is made of, by the first of its defaults; None for one that stands alone."""
    family = name.partition("/")[0]
    first = _defaults(name)[0]
    return f"{family}/{first}" if isinstance(first, str) and f"{family}/{first}" in recipe_names() else None


def _defaults(name: str) -> list[Any]:
    listed: list[Any] = yaml.safe_load((recipes_dir() / f"{name}.yaml").read_text())["defaults"]
    return listed


def _groups(name: str) -> frozenset[str]:
    """The configuration groups in which the recipe makes a choice, or what it is made of."""
    found: frozenset[str] = frozenset()
    for entry in _defaults(name):
        if isinstance(entry, dict):
            found |= {group.removeprefix("override ").removeprefix("/") for group in entry}
        elif entry != "_self_":
            found |= _groups(f"{name.partition('/')[0]}/{entry}")
    return found


def _is_recipe(file: Path) -> bool:
    return not file.name.startswith("_") and file.read_text().startswith(MARK) and "\nrecipe:" in file.read_text()


def find_recipe(words: Sequence[str], verb: str) -> tuple[Recipe, list[str]]:
    """The recipe that the one word without ``=`` names, changed by the others; and those others.

    Raises:
        UserError: no such recipe, or the words do not fit it.
    """
    names = [word for word in words if "=" not in word and not word.startswith(("-", "~"))]
    if len(names) != 1:
        raise UserError(f"{verb} takes one recipe (there are: {', '.join(recipe_names())})")
    rest = [word for word in words if word != names[0]]
    return compose_recipe(names[0], rest), rest


def compose_recipe(name: str, words: Sequence[str] = ()) -> Recipe:
    """The recipe ``name`` (``nemotron3_nano/rlvr``) with ``words`` applied.

    Raises:
        UserError: as :func:`find_recipe`.
    """
    known = recipe_names()
    if name not in known:
        near = get_close_matches(name, known, 1)
        raise UserError(f"no recipe `{name}`; {f'nearest: {near[0]}' if near else 'there are: ' + ', '.join(known)}")
    plain = _plain(name)
    chosen = next((word for word in reversed(words) if word.startswith("model=")), None)
    rehearsal = chosen == "model=tiny" if chosen else EMBEDDED in (plain.model.serve.path or "")
    kept, words = _kept(words, plain)
    before = [f"run_dir=runs/{name.replace('/', '-')}{'-rehearsal' if rehearsal else ''}"]
    before += _files(plain, kept, words) if kept else []
    before += _smaller(plain, words) if rehearsal else []
    base = Base(name, tuple(plain.envs), tuple(plain.judges), _groups(name))
    config, _ = compose_settings([*before, *words], RecipeConfig, base)
    left_out = tuple(env for env in kept or plain.envs if rehearsal and plain.envs[env].server.startswith(HOSTED))
    envs = {env: config.envs[env] for env in kept or config.envs if env not in left_out}
    return Recipe(name, config.model_copy(update={"envs": envs}), rehearsal, left_out)


@cache
def _plain(name: str) -> RecipeConfig:
    """The recipe as its file has it."""
    return compose_settings(["run_dir=unused"], RecipeConfig, Base(name))[0]


def _kept(words: Sequence[str], plain: RecipeConfig) -> tuple[list[str], list[str]]:
    """The environments that ``env=`` keeps, and the other words."""
    kept = [env for word in words if word.startswith("env=") for env in word[4:].strip("[]").split(",")]
    if unknown := [env for env in kept if env not in plain.envs]:
        raise UserError(f"env={unknown[0]}: the recipe has no such environment (it has: {', '.join(plain.envs)})")
    return kept, [word for word in words if not word.startswith("env=")]


def _files(plain: RecipeConfig, kept: Sequence[str], words: Sequence[str]) -> list[str]:
    """The words that give each environment its own file: rows of the others are not even read."""
    if any(word.startswith(("tasks=", "tasks.path=")) for word in words):
        return []
    folder = plain.recipe.data.folder
    return ["tasks.path=null", *(f"envs.{env}.tasks={folder}/train/{env}.jsonl" for env in kept)]


def _smaller(plain: RecipeConfig, words: Sequence[str]) -> list[str]:
    """The words that make one machine enough."""
    judged = any(word.startswith(("judge=", "judges.")) for word in words)
    smaller = ["collect.num_agents=1", "collect.in_flight=64", f"model.sampling_overrides.max_output_tokens={ANSWER}"]
    for env in plain.envs:
        turns = min(TURNS, plain.agent_of(env).max_turns)
        smaller += [f"envs.{env}.num_actors=1", f"envs.{env}.verify_workers=1", f"envs.{env}.in_flight=null"]
        smaller += [f"envs.{env}.agent.max_turns={turns}"]
        smaller += [] if judged else [f"envs.{env}.judge={POLICY}"]
    return smaller
