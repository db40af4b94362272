"""``gym-ray reverify``: a run's trajectories, judged anew."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from gym_ray.cli.arguments import Base
from gym_ray.cli.compose import compose_settings, split_options
from gym_ray.cli.main import DONE, INTERRUPTED
from gym_ray.cli.profile import write_json
from gym_ray.cli.runs_show import run_address
from gym_ray.cli.tables import cell, new_table, output, printable
from gym_ray.collect.config import RunConfig
from gym_ray.collect.fingerprint import REDACTED
from gym_ray.collect.judges import asked_judges
from gym_ray.collect.rundir import CONFIG, RunDir
from gym_ray.resources.judge import POLICY
from gym_ray.resources.load import absolute_path, load_servers
from gym_ray.types.errors import UserError
from gym_ray.types.settings import Settings

HELP = """\
usage: gym-ray reverify RUN [env=CLASS] [key=value]... [--changes N] [--json FILE]

  gym-ray reverify runs/demo                                           the verifiers' code has changed
  gym-ray reverify runs/math env=stricter.py:Math                      another verifier; RUN has one environment
  gym-ray reverify runs/demo envs.math.server=stricter.py:Math         ... of several
  gym-ray reverify runs/demo envs.math.options.boxed_only=false        another option of it
  gym-ray reverify runs/judged judge=openai judge.base_url=http://host:8001/v1 judge.name=another-judge

Every recorded trajectory goes to its environment's verifier again, on the actors and with the placement that RUN's
configuration says (or key=value here). No model is asked but judges. Where tools or steps made the session that the
verifier sees, they are run again; a rollout whose session answers otherwise than recorded is masked as
replay_diverged. What failed before it came to a verdict stays failed.

The result is a run directory of its own, run_dir= (RUN-reverified by default), with recorded.run in its manifest and
all trajectories in it; RUN stays as it is and needs its journal/. What changed is printed, with the --changes (20)
largest; --json has up to 1,000 per environment. Interrupted, the same command with its run_dir goes on.
Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted.
"""
FAMILY, RECIPE = "recorded", "run"
"""The recorded run's configuration is composed like a recipe of this name."""
_INTERPOLATION = re.compile(r"(\\*)\$\{")


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    from gym_ray.collect.driver import collect
    from gym_ray.runs.reverify import verdict_changes

    rest, limit, json_file = _options(words)
    rest, folders = split_options(rest)
    places = [word for word in rest if not word.partition("=")[1] or "/" in word.partition("=")[0]]
    if len(places) != 1 or places[0].startswith("-"):
        raise UserError("reverify takes one run directory, all else is key=value (gym-ray reverify --help)")
    source = RunDir.open(run_address(places[0]))
    options = [f"--config-dir={folder}" for folder in folders]
    config = configure(source, [*options, *(word for word in rest if word != places[0])])
    _check_secrets(config)
    print(f"run directory: {config.run_dir}", file=sys.stderr)
    summary = collect(config)
    found = verdict_changes(source.address, config.run_dir)
    if json_file:
        write_json(json_file, found)
    _print(found, limit)
    print(f"run directory: {config.run_dir}")
    return INTERRUPTED if summary.interrupted else DONE


def _options(words: Sequence[str]) -> tuple[list[str], int, str | None]:
    """The words without ``--changes N`` and ``--json FILE``, and those two."""
    rest: list[str] = []
    given: dict[str, str] = {}
    pending = iter(words)
    for word in pending:
        if word not in ("--changes", "--json"):
            rest.append(word)
        elif not given.setdefault(word, next(pending, "")):
            raise UserError(f"{word}: its value is missing (gym-ray reverify --help)")
    if not given.get("--changes", "0").isdecimal():
        raise UserError(f"--changes {given['--changes']}: a whole number")
    return rest, int(given.get("--changes", "20")), given.get("--json")


def configure(source: RunDir, words: Sequence[str]) -> RunConfig:
    """The configuration of ``source``, as ``words`` change it, for its rollouts verified again.

    Raises:
        UserError: see ``compose_settings``; an environment that ``source`` does not have.
    """
    config: dict[str, Any] = yaml.safe_load(source.read(CONFIG))
    address = absolute_address(source)
    config["recorded"] = address
    chosen = [word for word in words if word.startswith("env=")]
    rest = [word for word in words if word not in chosen]
    if any(word.startswith("model=") for word in rest):
        raise UserError("reverify asks no policy; for judge=policy change its settings, model.KEY=VALUE")
    if not any(word.startswith("run_dir=") for word in rest):
        rest.append(f"run_dir={_default_run_dir(source)}")
    if chosen:
        _choose(config["envs"], chosen, [word for word in rest if word.startswith("--config-dir")])
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder, "recipes", FAMILY, f"{RECIPE}.yaml")
        recipe.parent.mkdir(parents=True)
        recipe.write_text(f"# @package _global_\n{yaml.safe_dump(_plain(config), allow_unicode=True)}")
        base = Base(f"{FAMILY}/{RECIPE}", tuple(config["envs"]))
        made, _ = compose_settings([f"--config-dir={folder}", *rest], RunConfig, base)
    envs = {name: its.model_copy(update={"server": absolute_path(its.server)}) for name, its in made.envs.items()}
    return made.model_copy(update={"envs": envs})


def absolute_address(run: RunDir) -> str:
    """An address that means the same from any working directory."""
    return run.root if run.local else run.address


def _default_run_dir(source: RunDir) -> str:
    """``RUN-reverified``, a name that no directory has yet."""
    stem, number = f"{source.address.rstrip('/')}-reverified", 1
    while RunDir(stem if number == 1 else f"{stem}-{number}").exists(""):
        number += 1
    return stem if number == 1 else f"{stem}-{number}"


def _choose(envs: dict[str, dict[str, Any]], chosen: list[str], folders: list[str]) -> None:
    """Let ``env=CHOICE`` replace class and options of the environment of its name, or of the only one there is."""
    composed, _ = compose_settings([*folders, *chosen, "run_dir=-"], RunConfig)
    for name, choice in composed.envs.items():
        target = next(iter(envs)) if len(envs) == len(composed.envs) == 1 else name
        if target not in envs:
            raise UserError(
                f"{chosen[0]}: the run has {', '.join(envs)}: say which of them, envs.NAME.server={choice.server}"
            )
        envs[target] |= {"options": {}, **choice.model_dump(mode="json", exclude_unset=True, exclude={"tasks"})}


def _plain(value: Any) -> Any:
    """Texts with what Hydra would take for an interpolation escaped."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return _INTERPOLATION.sub(lambda found: found[1] * 2 + r"\${", value) if isinstance(value, str) else value


def _check_secrets(config: RunConfig) -> None:
    """A run's configuration is kept without its secrets: those that are needed now must be given again.

    Raises:
        UserError: one is missing.
    """
    servers = load_servers(config.envs)
    asked = asked_judges(config, servers)
    used: dict[str, Settings] = {f"envs.{name}": its for name, its in config.envs.items()}
    used |= {f"judges.{name}": config.judges[name] for name in asked if name != POLICY}
    used |= {"model": config.model} if POLICY in asked else {}
    for place, settings in used.items():
        for key in _redacted(settings.model_dump(), place):
            raise UserError(f"{key}: a run's configuration is kept without secrets: give it again, {key}=...")


def _redacted(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _redacted(inner, f"{place}.{key}")
    elif isinstance(value, str) and REDACTED in value:
        yield place


def _print(found: Mapping[str, Any], limit: int) -> None:
    console, environments = output(), found["environments"]
    for table in (_summary(environments), _outcomes(environments), _changes(environments, limit)):
        if table.row_count:
            console.print()
            console.print(table)
    changes = sum(len(its["changes"]) for its in environments.values())
    console.print()
    if not changes:
        console.print("no verdict changed")
    elif changes > limit:
        console.print(f"and {changes - limit:,} more changes (--changes, --json)")


def _summary(environments: Mapping[str, Any]) -> Table:
    numbers = ("rollouts", "scored both times", "reward before", "now", "up", "down", "other parts", "other outcome")
    table = new_table(("environment",), (*numbers, "not verified"))
    for name, its in environments.items():
        means = ("-" if its["reward"] is None else f"{its['reward'][when]:.3f}" for when in ("before", "now"))
        counts = (its[key] for key in ("up", "down", "other_components", "other_outcome", "not_verified"))
        row = (f"{its['rollouts']:,}", f"{its['scored_both_times']:,}", *means, *(f"{one:,}" for one in counts))
        table.add_row(cell(name), *row)
    return table


def _outcomes(environments: Mapping[str, Any]) -> Table:
    """Rollouts whose outcome is another."""
    table = new_table(("environment", "before", "now"), ("rollouts",))
    for name, its in environments.items():
        for move in its["outcomes"]:
            if move["before"] != move["now"]:
                table.add_row(cell(name), move["before"], move["now"], f"{move['rollouts']:,}")
    return table


def _changes(environments: Mapping[str, Any], limit: int) -> Table:
    table = new_table(("environment", "task"), ("rollout", "before", "now"))
    for name, change in _in_turn(environments, limit):
        verdicts = (_shown(change[when]) for when in ("before", "now"))
        table.add_row(cell(name), cell(change["task_id"]), str(change["rollout_index"]), *verdicts)
    return table


def _in_turn(environments: Mapping[str, Any], limit: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """``limit`` changes, environment after environment in turn, so that none hides the others."""
    waiting = {name: list(its["changes"]) for name, its in environments.items()}
    while limit > 0 and any(waiting.values()):
        for name, changes in waiting.items():
            if changes and limit > 0:
                yield name, changes.pop(0)
                limit -= 1


def _shown(verdict: str | float) -> str:
    return printable(verdict) if isinstance(verdict, str) else f"{verdict:g}"
