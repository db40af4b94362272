"""``gym-ray env new``: a small environment that works, to be changed into one's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from gym_ray.cli.main import DONE
from gym_ray.types.errors import UserError

HELP = """\
usage: gym-ray env new NAME [--dir DIR]

Writes DIR/NAME/ (DIR is the working directory by default) with NAME.py, examples.jsonl and golden.jsonl: a
tool environment of thirty lines that passes `gym-ray env test`.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    name, parent = _parse(words)
    folder = parent / name
    server = f"{folder / name}.py:{_class_name(name)}"
    try:
        folder.mkdir(parents=True)
        for file, text in _files(name).items():
            (folder / file).write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise UserError(f"{folder} exists already") from error
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from error
    print(f"wrote {folder}/: {', '.join(_files(name))}")
    print(f"try it:     gym-ray env test {server}")
    print(f"collect:    gym-ray collect env={server}")
    return DONE


def _parse(words: Sequence[str]) -> tuple[str, Path]:
    rest = list(words)
    parent = Path()
    for position, word in enumerate(rest):
        if word.partition("=")[0] == "--dir":
            parent = Path(word.partition("=")[2] or next(iter(rest[position + 1 :]), "")).expanduser()
            del rest[position : position + (1 if "=" in word else 2)]
            break
    if len(rest) != 1:
        raise UserError("env new takes one NAME (and --dir DIR)")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", rest[0]):
        raise UserError(f"`{rest[0]}`: a name has lower-case letters, digits and underscores, a letter first")
    return rest[0], parent


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _files(name: str) -> dict[str, str]:
    templates = files("gym_ray.cli") / "templates"
    server = (templates / "environment.py.txt").read_text(encoding="utf-8").replace("Inventory", _class_name(name))
    data = {file: (templates / file).read_text(encoding="utf-8") for file in ("examples.jsonl", "golden.jsonl")}
    return {f"{name}.py": server, **data}
