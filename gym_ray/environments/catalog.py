"""The environments that ship with gym_ray, by name: where their files are and how to make more tasks.

Names come from the folders themselves, so a new folder with ``examples.jsonl`` is listed without any edit here.
Nothing is imported until it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path

from gym_ray.environments.generate import Row, Turn
from gym_ray.types.errors import UserError

Generator = Callable[..., Iterator[Row]]
"""``generate(count: int, seed: int, difficulty: Difficulty | str = "easy")``."""
Solver = Callable[[Row], list[Turn]]
"""``solve(row)``: the model turns that solve it."""


def names() -> list[str]:
    """All environments, sorted."""
    return sorted(folder.name for folder in _root().iterdir() if (folder / "examples.jsonl").is_file())


def examples_path(name: str) -> Path:
    """The environment's example tasks."""
    return _folder(name) / "examples.jsonl"


def golden_path(name: str) -> Path:
    """Recorded answers with expected rewards, one JSON object per line.

    ``{task: index into the examples or a row, items: output items, tool_calls_executed: run the function calls
    against the session before verify, judge: what its judge says, expected_reward: float | null, expected_mask: kind |
    null, note: str}`` (see ``resources.golden``).
    """
    return _folder(name) / "golden.jsonl"


def card_path(name: str) -> Path:
    """The environment's README."""
    return _folder(name) / "README.md"


def generator(name: str) -> Generator:
    """``generate`` of the environment. See :mod:`gym_ray.environments`."""
    generate: Generator = import_module(f"gym_ray.environments.{_folder(name).name}.generate").generate
    return generate


def solver(name: str) -> Solver:
    """``solve`` of the environment: the scripted expert for its generated rows."""
    solve: Solver = import_module(f"gym_ray.environments.{_folder(name).name}.generate").solve
    return solve


def _root() -> Path:
    return Path(str(files("gym_ray.environments")))


def _folder(name: str) -> Path:
    if name not in names():
        raise UserError(f"no environment `{name}`; there are {', '.join(names())}")
    return _root() / name
