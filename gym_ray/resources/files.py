"""Modules made from single files, importable by every process.

``path/to/inventory.py`` becomes the module ``gym_ray.resources.files./path/to/inventory``: the address is the
name. So a class defined there pickles like any other, and any process that has gym_ray and the file finds it
again, without having loaded it before. This module calls itself a package (``__path__``) only so that such
names are looked up below it.

The file's directory goes to the end of ``sys.path``: the file may import its neighbours, and they shadow
nothing.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType

__path__: list[str] = []

_PREFIX = f"{__name__}."
_DOT = "%2e"


def module_name(path: str) -> str:
    """The module name of a Python file (made absolute, symbolic links followed)."""
    return _PREFIX + os.path.realpath(os.path.expanduser(path)).removesuffix(".py").replace(".", _DOT)


def import_file(path: str) -> ModuleType:
    """Import a Python file once per process.

    Raises:
        ModuleNotFoundError: there is no such file. Whatever the file itself raises passes through.
    """
    return importlib.import_module(module_name(path))


class _FileFinder(MetaPathFinder):
    """Finds the names that :func:`module_name` makes."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PREFIX):
            return None
        file = fullname.removeprefix(_PREFIX).replace(_DOT, ".") + ".py"
        if not os.path.isfile(file):
            return None
        directory = os.path.dirname(file)
        if directory not in sys.path:
            sys.path.append(directory)
        return spec_from_file_location(fullname, file)


sys.meta_path.append(_FileFinder())
