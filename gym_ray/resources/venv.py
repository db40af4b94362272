"""Virtual environments for environments' packages, made once per content and kept.

A venv holds the required packages only. gym_ray and its own packages are not in it: the process that uses it has
them at the end of its module path (``child_boot``), so that the venv's come first.

They lie in ``$XDG_CACHE_HOME/gym_ray/venvs/HASH``; the hash covers the requirements and the interpreter. A venv with
the file ``complete`` is complete; any other is made anew, by one process at a time (a file lock).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from gym_ray.resources.requirements import Requirements
from gym_ray.types.errors import UserError

BUILD_S = 1800.0
"""Deadline for making one venv, and for waiting until another process has."""
_TOLD = 5
"""Lines of the installer's that a message repeats."""
_ASK = "import sys; print(sys.version, sys.prefix)"


def interpreter(python: str | None, requirements: Requirements | None) -> str:
    """The Python to run: ``python`` (None: this one), or a venv of it that has ``requirements``.

    Raises:
        UserError: there is no such Python, or the packages cannot be installed.
    """
    base = sys.executable if python is None else _found(python)
    if requirements is None:
        return base
    content = "\n".join([_identity(base), requirements.content()])
    place = _cache() / hashlib.sha256(content.encode()).hexdigest()
    if not (place / "complete").is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.with_suffix(".lock")):
            if not (place / "complete").is_file():
                _make(place, base, requirements)
    return str(place / "bin" / "python")


def is_ours(python: str | None) -> bool:
    """Whether ``python`` (None: this one) can load this one's packages: the same version of the language."""
    return python is None or _identity(_found(python)).split(".")[:2] == sys.version.split(".")[:2]


def _make(place: Path, base: str, requirements: Requirements) -> None:
    shutil.rmtree(place, ignore_errors=True)
    python = str(place / "bin" / "python")
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is not None:
        make = [uv, "venv", "--quiet", "--python", base, str(place)]
        install = [uv, "pip", "install", "--quiet", "--python", python]
    else:
        make = [base, "-m", "venv", str(place)]
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(make, "cannot make a virtual environment", requirements)
    wanted = place / "requirements.txt"
    wanted.write_text("\n".join(requirements.lines) + "\n")
    _run([*install, "-r", str(wanted)], f"cannot install {', '.join(requirements.lines)[:300]}", requirements)
    (place / "complete").touch()


def _run(command: list[str], failure: str, requirements: Requirements) -> None:
    folder = requirements.folder if os.path.isdir(requirements.folder) else None
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=BUILD_S, text=True)
    except subprocess.TimeoutExpired:
        raise UserError(f"{failure}: not done after {BUILD_S:g} s") from None
    if done.returncode:
        lines = [" ".join(line.split()) for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise UserError(f"{failure}: {' | '.join(lines[-_TOLD:])[-1500:]}")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "gym_ray", "venvs")


def _found(python: str) -> str:
    found = shutil.which(os.path.expanduser(python))
    if found is None:
        raise UserError(f"python: no interpreter {python}")
    return os.path.abspath(found)


@lru_cache
def _identity(python: str) -> str:
    """Version and prefix."""
    if python == sys.executable:
        return f"{sys.version} {sys.prefix}"
    try:
        done = subprocess.run([python, "-c", _ASK], capture_output=True, timeout=60, text=True, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"python: {python} does not run: {error}") from None
    return done.stdout.strip()


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold the lock ``file``. Raises UserError after :data:`BUILD_S`."""
    until = time.monotonic() + BUILD_S
    with file.open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise UserError(f"{file}: another process has held this lock for {BUILD_S:g} s") from None
                time.sleep(0.2)
        yield
