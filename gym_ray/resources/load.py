"""From ``envs.NAME.server`` to a class: ``package.module:Class`` or ``path/to/file.py:Class``."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.files import import_file
from gym_ray.resources.gymnasium import GymnasiumServer
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.errors import UserError, describe

_HOOKS = ("seed", "verify", "review", "verify_group", "close", "reset", "step")


def load_server(path: str) -> type[ResourcesServer]:
    """The class that ``path`` names.

    Raises:
        UserError: no such module, file or class (with the nearest right name), a module that cannot be
            imported, or a class that is not a complete ResourcesServer.
    """
    place, name = _split(path)
    module = _load_file(path, place) if _is_file(place) else _load_module(path, place)
    found = getattr(module, name, None)
    if found is None:
        known = [key for key, value in vars(module).items() if _is_server(value)]
        raise UserError(f"environment `{path}`: no class `{name}` in {place}{_hint(name, known)}")
    if not _is_server(found):
        raise UserError(f"environment `{path}`: `{name}` is not a subclass of gym_ray's ResourcesServer")
    _check_complete(path, found)
    return found  # type: ignore[no-any-return]


def load_servers(envs: Mapping[str, EnvironmentConfig]) -> dict[str, type[ResourcesServer]]:
    """The classes of environments, by name. Raises UserError: see :func:`load_server`; or an option that one lacks."""
    servers = {name: load_server(environment.server) for name, environment in envs.items()}
    for name, found in servers.items():
        options = inspect.signature(found.__init__).parameters
        if not any(one.kind is one.VAR_KEYWORD for one in options.values()):
            for key in envs[name].options.keys() - options.keys():
                hint = _hint(key, list(options)[1:]) or "; it has none"
                raise UserError(f"envs.{name}.options.{key}: {found.__name__} has no such option{hint}")
    return servers


def make_server(config: EnvironmentConfig) -> ResourcesServer:
    """An instance of the configured class.

    Raises:
        UserError: as :func:`load_server`, or options that the class does not take.
    """
    found = load_server(config.server)
    try:
        return found(**config.options)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"environment `{config.server}`: cannot be made from its options: {describe(error)}") from error


def absolute_path(path: str) -> str:
    """The same class, named so that a process with another working directory finds it too."""
    place, name = _split(path)
    return f"{os.path.realpath(os.path.expanduser(place))}:{name}" if _is_file(place) else path


@dataclass(frozen=True, slots=True)
class ServerCode:
    """A class's path together with the text of its file, for a machine that may not have the file.

    ``source`` is None for an importable module: packages travel by Ray's runtime environments.
    """

    path: str
    source: bytes | None

    @classmethod
    def read(cls, path: str) -> ServerCode:
        """Take the file's text along.

        Raises:
            UserError: the file is not there.
        """
        place, _ = _split(path)
        if not _is_file(place):
            return cls(path, None)
        file = Path(place).expanduser()
        if not file.is_file():
            raise UserError(f"environment `{path}`: {_no_file(file)}")
        return cls(absolute_path(path), file.read_bytes())

    def install(self) -> str:
        """The path to load the class by on this machine; writes a private copy if the file is not here."""
        place, name = _split(self.path)
        if self.source is None or os.path.isfile(place):
            return self.path
        copy = Path(tempfile.mkdtemp(prefix="gym_ray-")) / os.path.basename(place)
        copy.write_bytes(self.source)
        return f"{copy}:{name}"


def _split(path: str) -> tuple[str, str]:
    place, _, name = path.rpartition(":")
    if not place or not name.isidentifier():
        raise UserError(f"environment `{path}`: write `package.module:Class` or `path/to/file.py:Class`")
    return place, name


def _is_file(place: str) -> bool:
    return place.endswith(".py") or os.sep in place


def _is_server(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, ResourcesServer)


def _load_file(path: str, place: str) -> ModuleType:
    file = Path(place).expanduser()
    if not file.is_file():
        raise UserError(f"environment `{path}`: {_no_file(file)}")
    if file.suffix != ".py":
        raise UserError(f"environment `{path}`: {place} is not a Python file")
    try:
        return import_file(place)
    except Exception as error:
        raise UserError(f"environment `{path}`: {place} cannot be imported: {describe(error)}") from error


def _no_file(file: Path) -> str:
    neighbours = sorted(entry.name for entry in file.parent.glob("*.py")) if file.parent.is_dir() else []
    where = f"no file {file}" if file.parent.is_dir() else f"no folder {file.parent}"
    return where + _hint(file.name, neighbours)


def _load_module(path: str, place: str) -> ModuleType:
    # A console script does not look for modules where it is called; its users expect it to.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise UserError(f"environment `{path}`: no module {error.name}{_module_hint(error.name)}") from None
        raise UserError(f"environment `{path}`: {place} cannot be imported: {describe(error)}") from error
    except Exception as error:
        raise UserError(f"environment `{path}`: {place} cannot be imported: {describe(error)}") from error


def _module_hint(missing: str) -> str:
    parent, _, last = missing.rpartition(".")
    folders = list(importlib.import_module(parent).__path__) if parent else None
    near = _nearest(last, (module.name for module in pkgutil.iter_modules(folders)))
    return f"; did you mean `{parent}.{near}`?" if parent and near else f"; did you mean `{near}`?" if near else ""


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(name, list(known), n=1)), None)


def _hint(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = _nearest(name, known)
    if near is not None:
        return f"; did you mean `{near}`?"
    return f"; it has {', '.join(f'`{one}`' for one in known[:5])}" if known else ""


def _check_complete(path: str, found: type[ResourcesServer]) -> None:
    if issubclass(found, GymnasiumServer):
        needed, complete = "step", found.step is not GymnasiumServer.step
    else:
        needed, complete = "verify", found.verify is not ResourcesServer.verify or found.scores_groups()
    if not complete:
        raise UserError(f"environment `{path}`: {found.__name__} must define `async def {needed}`")
    if found.cpu_bound and found.judge_roles and (found.scores_groups() or not found.reviews()):
        reason = "asks judges and is cpu_bound: its verifier runs in a process without them; ask in `async def review`"
        raise UserError(f"environment `{path}`: {found.__name__} {reason}")
    try:
        tools = found.tools()
    except Exception as error:
        raise UserError(f"environment `{path}`: its tools have no schema: {describe(error)}") from error
    for name in (*_HOOKS, *tools):
        if hasattr(found, name) and not inspect.iscoroutinefunction(getattr(found, name)):
            raise UserError(f"environment `{path}`: `{name}` must be `async def`")
