"""From words on the command line to Hydra overrides, all mistakes found first.

Grammar: ``key=value`` and ``group=choice`` as in Hydra, plus what a person would rather write:

- ``env=mcqa,math``, ``env=path/to/file.py:Class``, ``env=package.module:Class``: the environments;
  ``env=nemo_gym/mcqa``: one of a family, whose file leaves the name to the user.
- ``env.KEY=VALUE``: for each of them; ``envs.NAME.KEY=VALUE``: for one.
- ``judge=CHOICE``, a file of ``conf/model``, is the judge that environments ask; ``judge.KEY=VALUE`` one of its
  settings; ``judge=policy`` lets the policy judge. ``judges.NAME=CHOICE`` and ``judges.NAME.KEY=VALUE`` make further
  ones, for ``env.judge=NAME``.
- ``tasks=PATH`` is ``tasks.path=PATH``.
- Texts need no quotes, lists no brackets, open mappings no ``+``.

Invariant: nothing here reads a value. Hydra parses values, pydantic judges them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gym_ray.cli.keys import Key, KeyTable, nearest_of
from gym_ray.resources.judge import DEFAULT, POLICY
from gym_ray.types.errors import UserError
from gym_ray.types.settings import Settings

SHORTHAND = {"tasks": "tasks.path"}
_WORD = re.compile(r"(\+\+|\+|~)?([^=]+?)(?:=(.*))?", re.DOTALL)
_QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Base:
    """What a recipe brings along: its file (``nemotron3_nano/rlvr``), the names of its environments and judges.

    ``groups``: the configuration groups in which it makes a choice, which words may replace.
    """

    recipe: str | None = None
    envs: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    groups: frozenset[str] = frozenset({"model"})


NOTHING = Base()


@dataclass(slots=True)
class Arguments:
    """A command line, taken apart. ``envs``: name -> choice under ``conf/env``, or import path (with a ``:``).

    ``judges``: name -> choice under ``conf/model``. ``choices``: group -> chosen file. ``overrides``: in Hydra's
    grammar. ``base``: what is there before any word.
    """

    base: Base = NOTHING

    envs: dict[str, str] = field(default_factory=dict)
    judges: dict[str, str] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)

    def table(self, record: type[Settings]) -> KeyTable:
        """The keys that may be set."""
        return KeyTable(record, [*self.base.envs, *self.envs], [*self.base.judges, *self.judges])


def parse_arguments(
    words: Sequence[str], record: type[Settings], groups: Mapping[str, list[str]], base: Base = NOTHING
) -> Arguments:
    """Take ``words`` apart. ``groups``: the choices of each configuration group.

    Raises:
        UserError: one line for each word that is no setting, or chooses what there is not.
    """
    pairs, problems = _pairs(words)
    arguments = Arguments(base)
    for key, value in pairs:
        if key == "env":
            problems += _choose_envs(arguments, value, groups.get("env", []))
    names = [*base.envs, *arguments.envs]
    table = KeyTable(record, names, [*base.judges, *_judge_names(pairs)])
    for key, value in pairs:
        judge = _judge_of(key) if "judges" in record.model_fields else None
        if judge is not None and "." not in judge:
            problems += _choose_judge(arguments, judge, value, groups.get("model", []), names)
        elif judge is not None:
            problems += _override(arguments, table, f"judges.{judge}", value, names)
        elif key in groups and key != "env":
            problems += _choose(arguments, key, value, groups[key])
        elif key != "env":
            problems += _override(arguments, table, key, value, names)
    if problems:
        raise UserError("\n".join(problems))
    return arguments


def _pairs(words: Sequence[str]) -> tuple[list[tuple[str, str | None]], list[str]]:
    """(key, value) of each word; the value of a removal (``~key``) is None."""
    pairs: list[tuple[str, str | None]] = []
    problems = []
    for word in words:
        match = _WORD.fullmatch(word)
        if word.startswith("-") or match is None or (match[3] is None and match[1] != "~"):
            problems.append(f"`{word}` is no key=value")
        else:
            pairs.append((SHORTHAND.get(match[2], match[2]), None if match[1] == "~" else match[3]))
    return pairs, problems


def _choose_envs(arguments: Arguments, value: str | None, known: list[str]) -> list[str]:
    problems = []
    for choice in filter(None, (part.strip(" '\"") for part in (value or "").strip("[]").split(","))):
        name = env_name(choice)
        if ":" not in choice and not choice.endswith(".py") and choice.partition("/")[0] not in known:
            problems.append(
                f"env={choice}: no such environment{nearest_of(choice, known)} (there are: {', '.join(known)}; "
                "your own: path/to/file.py:Class)"
            )
        elif arguments.envs.get(name, choice) != choice:
            problems.append(f"env={choice}: two environments would be called `{name}`")
        arguments.envs[name] = choice
    return problems


def env_name(choice: str) -> str:
    """``inventory_room`` for ``path/to/file.py:InventoryRoom``, the member of a family, else the choice itself."""
    place, _, class_name = choice.rpartition(":")
    if not place:
        return Path(choice).stem if choice.endswith(".py") else choice.rpartition("/")[2]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", class_name).lower()


def _choose(arguments: Arguments, group: str, value: str | None, known: list[str]) -> list[str]:
    if value is None or value not in known:
        shown = value if value is not None else "~"
        return [f"{group}={shown}: no such choice{nearest_of(shown, known)} (there are: {', '.join(known)})"]
    arguments.choices[group] = value
    return []


def _judge_of(key: str) -> str | None:
    """``NAME`` or ``NAME.KEY`` of a word about a judge, else None."""
    if key == "judge" or key.startswith("judge."):
        return DEFAULT + key.removeprefix("judge")
    return key.removeprefix("judges.") if key.startswith("judges.") else None


def _judge_names(pairs: list[tuple[str, str | None]]) -> list[str]:
    return list({judge.partition(".")[0]: None for key, _ in pairs if (judge := _judge_of(key)) is not None})


def _choose_judge(
    arguments: Arguments, name: str, value: str | None, known: list[str], envs: Sequence[str]
) -> list[str]:
    if name == DEFAULT and value == POLICY:
        arguments.overrides += [f"++envs.{env}.judge={POLICY}" for env in envs]
    elif value is None or value not in known:
        shown, word = value if value is not None else "~", "judge" if name == DEFAULT else f"judges.{name}"
        choices = ", ".join([*known, *([POLICY] if name == DEFAULT else [])])
        return [f"{word}={shown}: no such choice{nearest_of(shown, known)} (there are: {choices})"]
    else:
        arguments.judges[name] = value
    return []


def _override(arguments: Arguments, table: KeyTable, name: str, value: str | None, envs: Sequence[str]) -> list[str]:
    names = [f"envs.{env}.{name[4:]}" for env in envs] if name.startswith("env.") else [name]
    for full in names:
        key = table.find(full)
        if key is None and not (table.is_section(full) and value is not None and value.startswith("{")):
            near = table.nearest(full if full == name else name)
            return [f"`{name}` is no setting" + (f"; nearest: {near}" if near else "")]
        if value is None:
            arguments.overrides.append(f"~{full}")
        else:
            arguments.overrides.append(f"++{full}={_value(key, full, value)}")
    return []


def _value(key: Key | None, name: str, value: str) -> str:
    """``value`` in Hydra's grammar, where the type of the key leaves no doubt about what is meant."""
    if key is None or key.is_open or _QUOTED.fullmatch(value):
        return value
    if key.is_list:
        return value if value.startswith("[") else f"[{value}]"
    if key.is_text and value != "null" and not value.startswith("["):
        return quote(value)
    return value


def quote(text: str) -> str:
    """A quoted value of Hydra's grammar; interpolations (``${...}``) inside still resolve."""
    escaped = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"
