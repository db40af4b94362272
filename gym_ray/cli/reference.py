"""The reference part of ``--help``: every key with its type, default and meaning, from the settings records."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from gym_ray.cli.keys import Key, keys_of, shorthand
from gym_ray.types.settings import Settings

WIDTH = 110


def reference(record: type[Settings], choices: dict[str, list[str]]) -> str:
    """Configuration groups, then all keys by section."""
    lines = ["Choices:"]
    lines += [f"  {group}={'|'.join(names)}" for group, names in choices.items() if names]
    for section, keys in groupby(keys_of(record), key=lambda key: key.name.split(".")[0] if "." in key.name else ""):
        # A judge's keys are those of the model, which are there already.
        lines += ["", f"{_title(section)}:", *([] if section == "judges" else _entries(keys))]
    return "\n".join(lines)


def entries(record: type[Settings]) -> list[str]:
    """The keys of a record without sections."""
    return _entries(keys_of(record))


def _title(section: str) -> str:
    titles = {
        "": "The run",
        "envs": "Each environment (env.KEY for all chosen ones, envs.NAME.KEY for one)",
        "judges": "The judge that environments ask (judge.KEY; judges.NAME.KEY for further ones): keys as of `model`",
    }
    return titles.get(section, section)


def _entries(keys: Iterable[Key]) -> list[str]:
    lines = []
    for key in keys:
        name = shorthand(key.name)
        default = "" if key.required else f"={_shown(key.default)}"
        lines.append(f"  {name}{default}   <{key.shape}>")
        lines += textwrap.wrap(key.help, WIDTH, initial_indent="      ", subsequent_indent="      ")
    return lines


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value).replace("'", "")
