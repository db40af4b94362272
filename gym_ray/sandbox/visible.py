"""What a sandbox on this machine sees: the system's programs and libraries, this Python's standard library, and the
packages that were asked for by name. All read-only. No home, no project, no other site-packages, no /etc.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gym_ray.sandbox.guest.interpreter import PACKAGES
from gym_ray.types.errors import UserError

TMP_FILES = 20_000
"""Files and folders that fit into a sandbox's ``/tmp``."""
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = ("/etc/ld.so.cache", "/etc/alternatives")
_TEXTS = {
    "/etc/passwd": "user:x:1000:1000::/tmp:/bin/sh\n",
    "/etc/group": "user:x:1000:\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/nsswitch.conf": "hosts: files\n",
}


def environment() -> dict[str, str]:
    """All environment variables that a program gets by itself."""
    return {
        "PATH": f"{sys.base_prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "USER": "user",
        "LANG": "C.UTF-8",
        "PYTHONPATH": PACKAGES,
        "PYTHONDONTWRITEBYTECODE": "1",
        # One sandbox is one core's worth; libraries would start a thread per core.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def view(packages: tuple[str, ...], tmp_bytes: int) -> dict[str, Any]:
    """The parts a jail is made from: ``binds``, ``masks``, ``links``, ``texts``, and the size of its ``/tmp``.

    Raises:
        UserError: a package is not installed.
    """
    roots = ["/usr"] if _inside(sys.base_prefix, "/usr") else ["/usr", sys.base_prefix]
    binds = [(root, root) for root in roots]
    links = {}
    for place in _SYSTEM:
        if os.path.islink(place):
            links[place] = os.readlink(place)
        elif os.path.isdir(place):
            binds.append((place, place))
    binds += [(place, place) for place in _ETC if os.path.exists(place)]
    binds += [(str(source), f"{PACKAGES}/{source.name}") for name in packages for source in package_files(name)]
    return {
        "binds": [{"source": source, "target": target} for source, target in binds],
        "masks": _site_folders(roots),
        "links": links,
        "texts": _TEXTS,
        "tmp_bytes": tmp_bytes,
        "tmp_files": TMP_FILES,
    }


def package_files(name: str) -> list[Path]:
    """The folders and files that importing a top-level package reads: itself and the libraries bundled beside it.

    Raises:
        UserError: it is not installed.
    """
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or spec.origin is None:
        raise UserError(f"sandbox: package `{name}` is not installed here: install it, or leave it out of `packages`")
    file = Path(spec.origin)
    source = file.parent if file.name.startswith("__init__.") else file
    bundled = source.parent / f"{name}.libs"
    return [source, bundled] if bundled.is_dir() else [source]


def _site_folders(roots: list[str]) -> list[str]:
    """Third-party packages under ``roots``: among them may be this project, with its tests and graders."""
    found = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    for root in roots:
        for pattern in ("lib/python3*/*-packages", "local/lib/python3*/*-packages", "lib64/python3*/*-packages"):
            found |= {str(place) for place in Path(root).glob(pattern) if place.is_dir()}
    return sorted(place for place in found if any(_inside(place, root) for root in roots))


def _inside(place: str, root: str) -> bool:
    return os.path.realpath(place) == root or os.path.realpath(place).startswith(root + "/")
