"""From a command line to a settings record, by way of Hydra.

Order, later wins: the record's defaults, the chosen files of the configuration groups, the overrides. The
groups are the folders of ``conf/``; ``--config-dir DIR`` puts another such folder in front, so that
``DIR/model/mine.yaml`` is ``model=mine``. A file leaves to the user what it sets to ``???``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from gym_ray.cli.arguments import NOTHING, Arguments, Base, parse_arguments, quote
from gym_ray.collect.library import conf_dir as conf_dir
from gym_ray.collect.library import shipped
from gym_ray.resources.files import import_file
from gym_ray.resources.load import absolute_path
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.errors import UserError, describe
from gym_ray.types.settings import Settings
from gym_ray.types.validation import explain

DEFAULT_CHOICES = {"model": "tiny"}
"""Groups that have a choice when the command line makes none."""

S = TypeVar("S", bound=Settings)


def recipes_dir() -> Path:
    """The recipes: inside an installed package, beside it in a source checkout."""
    return shipped("recipes")


def group_choices(folders: Sequence[Path]) -> dict[str, list[str]]:
    """The choices of each group, sorted."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for file in folder.glob("*/**/*.yaml"):
            group, *choice = file.relative_to(folder).with_suffix("").parts
            found.setdefault(group, set()).add("/".join(choice))
    return {group: sorted(choices) for group, choices in sorted(found.items())}


def split_options(words: Sequence[str]) -> tuple[list[str], list[Path]]:
    """The words without ``--config-dir DIR`` (or ``--config-dir=DIR``), and those folders."""
    rest: list[str] = []
    folders: list[Path] = []
    pending = iter(words)
    for word in pending:
        option, mark, value = word.partition("=")
        if option != "--config-dir":
            rest.append(word)
            continue
        folder = Path(value if mark else next(pending, "")).expanduser()
        if not folder.is_dir() or folder == Path():
            raise UserError(f"--config-dir: no folder {folder}")
        folders.append(folder.absolute())
    return rest, folders


def compose_settings(words: Sequence[str], record: type[S], base: Base = NOTHING) -> tuple[S, Arguments]:
    """The settings that ``words`` ask for, and the words taken apart. ``base``: the recipe that they change.

    Raises:
        UserError: one line per mistake: unknown keys and choices with the nearest right one, wrong values.
    """
    words, folders = split_options(words)
    groups = {
        group: choices
        for group, choices in group_choices([*folders, conf_dir()]).items()
        if group in record.model_fields or (group == "env" and "envs" in record.model_fields)
    }
    arguments = parse_arguments(words, record, groups, base)
    for group, choice in DEFAULT_CHOICES.items():
        if group in groups and base.recipe is None:
            arguments.choices.setdefault(group, choice)
    arguments.overrides[:0] = _members(arguments, [*folders, conf_dir()])
    composed = _compose(arguments, record, folders)
    try:
        return record.model_validate(composed), arguments
    except ValidationError as error:
        raise UserError("\n".join(_explain(error, record, arguments))) from None


def only_server(file: str) -> str:
    """``file.py:Class`` for a file that defines exactly one environment.

    Raises:
        UserError: it cannot be imported, or the class must be named.
    """
    try:
        module = import_file(file)
    except Exception as error:
        raise UserError(f"env={file}: cannot be imported: {describe(error)}") from error
    own = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, ResourcesServer) and value.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise UserError(f"env={file}: say which class, {file}:Class (it defines {', '.join(own) or 'none'})")
    return f"{file}:{own[0]}"


def member_option(family: str, folders: Sequence[Path]) -> str | None:
    """The one option that ``env/FAMILY.yaml`` leaves to the user; None where it is one environment by itself."""
    file = next(path for folder in folders if (path := folder / "env" / f"{family}.yaml").is_file())
    options = yaml.safe_load(file.read_text()).get("options") or {}
    left = [key for key, value in options.items() if value == "???"]
    return left[0] if len(left) == 1 else None


def _members(arguments: Arguments, folders: Sequence[Path]) -> Iterator[str]:
    """``env=FAMILY/MEMBER``: the member is the one option that the family's file leaves to the user."""
    for name, choice in arguments.envs.items():
        family, slash, member = choice.partition("/")
        if not slash or ":" in choice or choice.endswith(".py"):
            continue
        option = member_option(family, folders)
        if option is None:
            raise UserError(f"env={choice}: `{family}` is one environment, no family of them")
        yield f"++envs.{name}.options.{option}={quote(member)}"


def _compose(arguments: Arguments, record: type[Settings], folders: Sequence[Path]) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    ConfigStore.instance().store(name="gym_ray", node=_root(arguments, record))
    searched = [*folders, *([recipes_dir().parent] if arguments.base.recipe else [])]
    search = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in searched)}]"] if searched else []
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            composed = compose("gym_ray", overrides=[*search, *arguments.overrides])
            _check_nothing_missing(OmegaConf.to_container(composed), record, arguments)
            container = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_hydra_problem(error, arguments)) from error
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _check_nothing_missing(composed: Any, record: type[Settings], arguments: Arguments) -> None:
    """Everything that the chosen files leave to the user must be there."""
    table = arguments.table(record)
    chosen = arguments.choices | {f"judges.{name}": choice for name, choice in arguments.judges.items()}
    lines = []
    for name in sorted(_missing(composed)):
        key = table.find(name)
        by = next(
            (f" ({group}={choice} needs it)" for group, choice in chosen.items() if name.startswith(f"{group}.")), ""
        )
        lines.append(f"{name}=... is missing{by}" + (f": {key.help}" if key else ""))
    if lines:
        raise UserError("\n".join(lines))


def _missing(node: Any, path: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _missing(value, f"{path}.{key}" if path else str(key))
    elif node == "???":
        yield path


def _root(arguments: Arguments, record: type[Settings]) -> dict[str, Any]:
    """The root configuration: which files, in which order. Defaults are not in it: the record fills them in."""
    root: dict[str, Any] = {}
    base = arguments.base
    replaced = base.groups if base.recipe else frozenset()
    defaults: list[Any] = ["_self_"]
    if base.recipe is not None:
        folder, _, name = base.recipe.rpartition("/")
        defaults.append({f"recipes/{folder}": name})
    elif "envs" in record.model_fields:
        root["envs"] = {}
        for name, choice in arguments.envs.items():
            if ":" in choice or choice.endswith(".py"):
                root["envs"][name] = {"server": absolute_path(choice if ":" in choice else only_server(choice))}
            else:
                defaults.append({f"env@envs.{name}": choice.partition("/")[0]})
    defaults += [
        {f"model@judges.{name}": choice} for name, choice in arguments.judges.items() if name not in base.judges
    ]
    defaults += [{group: choice} for group, choice in arguments.choices.items() if group not in replaced]
    # Hydra wants what replaces a choice of the recipe's own after everything else.
    defaults += [
        {f"override model@judges.{name}": arguments.judges[name]} for name in arguments.judges if name in base.judges
    ]
    defaults += [{f"override {group}": choice} for group, choice in arguments.choices.items() if group in replaced]
    return {"defaults": defaults, **root}


def _hydra_problem(error: Exception, arguments: Arguments) -> str:
    text = str(error)
    culprit = getattr(error, "override", None) or next((word for word in arguments.overrides if word in text), None)
    shown = f"`{culprit.removeprefix('++')}`" if culprit else "configuration"
    if "sweep" in text:
        return f"{shown}: several values; write a list as [a,b], or quote the text"
    if culprit:
        return f"{shown}: cannot be read ({text.splitlines()[0]}); quote the text: key=\"'...'\""
    return f"{shown}: {' '.join(text.split())[:400]}"


def _explain(error: ValidationError, record: type[Settings], arguments: Arguments) -> list[str]:
    table = arguments.table(record)
    lines = []
    for problem, line in zip(error.errors(), explain(error), strict=True):
        if problem["type"] != "extra_forbidden":
            lines.append(line.removeprefix("row: "))  # What the record says as a whole names its place.
            continue
        name = ".".join(map(str, problem["loc"]))
        near = table.nearest(name)
        lines.append(f"`{name}` is no setting" + (f"; nearest: {near}" if near else ""))
    return lines
