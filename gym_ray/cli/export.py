"""``gym-ray export``: a run's rollouts in a trainer's format."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from gym_ray.cli.keys import KeyTable, nearest_of
from gym_ray.cli.main import DONE
from gym_ray.cli.reference import entries
from gym_ray.cli.runs_show import run_address
from gym_ray.export.card import write_card
from gym_ray.export.formats import FORMATS
from gym_ray.export.pipeline import CARD, Exported, export
from gym_ray.export.settings import ExportSettings
from gym_ray.types.errors import UserError
from gym_ray.types.validation import explain

HELP = """\
usage: gym-ray export RUN --to FORMAT out=FOLDER [key=value]...

  gym-ray export runs/math --to openai_sft out=sft reward_min=1 best=1 dedup=true      the best answer to each task
  gym-ray export runs/math --to preference out=dpo margin=0.5 length_max=4096 validation=0.05
  gym-ray export runs/math --to nemo_rl_prompts out=rl pass_rate_min=0.1 pass_rate_max=0.9
  gym-ray export runs/math --to nemo_rl_prompts out=rl where="any(reward >= 1) and mean(reward) < 0.9"
  gym-ray export runs/math --to token_arrays out=tokens

RUN is a run directory, or the name of one in runs/. FOLDER gets train.jsonl or train.parquet, the same for validation
and test if asked for, and README.md, which says where it came from, what was left out and why. Only scored rollouts are
taken, unless outcome= says otherwise.
"""


def help_text() -> str:
    """Usage, formats, and every key."""
    width = max(map(len, FORMATS))
    lines = [HELP, "Formats:", *(f"  {name.ljust(width)}   {style.about}" for name, style in FORMATS.items())]
    return "\n".join([*lines, "", "Keys:", *entries(ExportSettings)])


def run(words: Sequence[str]) -> int:
    """See the module."""
    name, places, values = _parse(words)
    if name not in FORMATS:
        raise UserError(f"--to {name}: no such format{nearest_of(name, list(FORMATS))} (there are: {_names()})")
    if len(places) != 1:
        raise UserError("export takes one run directory: gym-ray export RUN --to FORMAT out=FOLDER")
    settings = _settings(values)
    address = run_address(places[0])
    made = export(address, name, settings)
    write_card(address, name, settings, made)
    _report(made)
    return DONE


def _names() -> str:
    return ", ".join(FORMATS)


def _parse(words: Sequence[str]) -> tuple[str, list[str], dict[str, str]]:
    """The format, what stands alone, and the settings."""
    rest, name = list(words), ""
    if "--to" in rest:
        at = rest.index("--to")
        name = rest[at + 1] if at + 1 < len(rest) else ""
        del rest[at : at + 2]
    if not name:
        raise UserError(f"--to FORMAT is missing (there are: {_names()})")
    if wrong := [word for word in rest if word.startswith("-")]:
        raise UserError(f"`{wrong[0]}` is no option of export: there is --to FORMAT, all else is key=value")
    places = [word for word in rest if not _is_setting(word)]
    return name, places, dict(word.split("=", 1) for word in rest if _is_setting(word))


def _is_setting(word: str) -> bool:
    """``key=value``; a path may have a ``=`` in it too, after a ``/``."""
    return word.partition("=")[0].isidentifier() and "=" in word


def _settings(values: dict[str, str]) -> ExportSettings:
    table = KeyTable(ExportSettings, [])
    for key in values:
        if table.find(key) is None:
            near = table.nearest(key)
            raise UserError(f"`{key}` is no setting" + (f"; nearest: {near}" if near else ""))
    if not values.get("out"):
        raise UserError("out=FOLDER is missing")
    try:
        return ExportSettings.model_validate({key: None if text == "null" else text for key, text in values.items()})
    except ValidationError as error:
        raise UserError("\n".join(explain(error))) from error


def _report(made: Exported) -> None:
    for file in made.files:
        print(f"{made.address}/{file.path}   {file.rows:,} examples, {file.bytes / 1e6:,.1f} MB")
    print(f"{made.tally}; {made.address}/{CARD} says it all")
