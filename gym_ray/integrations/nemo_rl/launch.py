"""How a NeMo-RL run picks our actor up, unchanged but for the command that starts it:

    python -m gym_ray.integrations.nemo_rl examples/nemo_gym/run_grpo_nemo_gym.py --config my.yaml [key=value]...

All releases make the actor the same way, in the process of the script: ``NemoGym.options(...).remote(config)``, where
``NemoGym`` is taken from ``nemo_rl.environments.nemo_gym``. So one name is replaced, before anything else takes it.
Which of our two actors stands in is read off the class that was there.
"""

from __future__ import annotations

import importlib
import inspect
import os
import runpy
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from gym_ray.types.errors import UserError

Json = dict[str, Any]
MODULE, CLASS = "nemo_rl.environments.nemo_gym", "NemoGym"
REGISTRY = "nemo_rl.distributed.ray_actor_environment_registry"
CALLS = 16_384
"""Calls that the actor takes at once: one per prompt group from the SingleController, beside health checks."""
CHECKOUT = "3rdparty/Gym-workspace/Gym"
"""Where a NeMo-RL checkout has NeMo Gym."""


class StandIn:
    """Takes the place of the actor class: ``options(...)``, then ``remote(config)``."""

    def __init__(self, streaming: bool, given: Json | None = None) -> None:
        self.streaming, self._given = streaming, given or {}

    def options(self, **given: Any) -> StandIn:
        """As Ray's actor classes have it."""
        return StandIn(self.streaming, {**self._given, **given})

    def remote(self, cfg: Json) -> Any:
        """Our actor's handle. ``cfg``: NeMo-RL's ``NemoGymConfig``.

        Raises:
            UserError: our settings in the block are wrong.
        """
        import ray

        from gym_ray.integrations.nemo_rl.actor import ListGym, StreamingGym
        from gym_ray.integrations.nemo_rl.block import settings_of

        settings = settings_of(cfg.get("initial_global_config_dict") or {})
        actor = ray.remote(StreamingGym if self.streaming else ListGym)
        # A call that was cut off is made again by the trainer, which knows what has arrived; Ray does not.
        fixed = {"max_concurrency": CALLS, "max_restarts": -1, "max_task_retries": 0, "num_cpus": 0}
        options = {**self._given, **fixed, "runtime_env": _runtime(self._given.get("runtime_env"), settings.python)}
        return actor.options(**options).remote({**_plain(cfg), "run_dir": _run_dir(settings.run_dir)})


def install() -> None:
    """Put :class:`StandIn` in the place of NeMo-RL's class. Before anything of NeMo-RL that uses it is imported.

    Raises:
        UserError: NeMo-RL is not importable, or something has already taken the class.
    """
    try:
        module = importlib.import_module(MODULE)
        registry = importlib.import_module(REGISTRY)
    except ModuleNotFoundError as error:
        raise UserError(f"NeMo-RL cannot be imported ({error}): run this with its own Python") from error
    original = getattr(module, CLASS)
    if isinstance(original, StandIn):
        return
    # Looked up without asking the modules: some import more when asked for a name that they lack.
    held = {name: vars(one).get(CLASS) for name, one in [*sys.modules.items()] if isinstance(one, ModuleType)}
    users = [name for name, one in held.items() if name != MODULE and one is original]
    if users:
        raise UserError(f"{users[0]} has already taken NeMo-RL's {CLASS}: install gym_ray before importing it")
    setattr(module, CLASS, StandIn(streams(original)))
    # NeMo-RL would build a virtual environment for its actor; ours runs in the trainer's.
    registry.ACTOR_ENVIRONMENT_REGISTRY[f"{MODULE}.{CLASS}"] = sys.executable


def streams(original: Any) -> bool:
    """Whether NeMo-RL calls this release's actor as a stream of rows."""
    made = getattr(getattr(original, "__ray_metadata__", None), "modified_class", original)
    return inspect.isasyncgenfunction(inspect.unwrap(made.run_rollouts))


def main(words: Sequence[str]) -> None:
    """Run a NeMo-RL script with our actor in place. ``words``: the script, and its arguments.

    Raises:
        SystemExit: no such script, or NeMo-RL cannot be used.
    """
    if not words or not Path(words[0]).is_file():
        raise SystemExit(f"usage: python -m gym_ray.integrations.nemo_rl SCRIPT.py [ARGUMENT]...\n{_missing(words)}")
    try:
        install()
    except UserError as error:
        raise SystemExit(str(error)) from None
    sys.argv = list(words)
    sys.path.insert(0, str(Path(words[0]).resolve().parent))
    runpy.run_path(words[0], run_name="__main__")


def _missing(words: Sequence[str]) -> str:
    return f"there is no file {words[0]}" if words else "say which of NeMo-RL's scripts"


def _run_dir(given: str | None) -> str:
    """Absolute, because actors have working directories of their own."""
    if given is not None and "://" in given:
        return given
    started = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return str(Path(given or f"results/gym_ray/{started}").expanduser().resolve())


def _runtime(given: Json | None, python: str | None) -> Json:
    """NeMo-RL's runtime environment without the virtual environment that it means for NeMo Gym."""
    variables = {name: value for name, value in ((given or {}).get("env_vars") or {}).items() if name not in _VENV}
    if "PYTHONPATH" in os.environ:
        variables.setdefault("PYTHONPATH", os.environ["PYTHONPATH"])
    return {**(given or {}), "py_executable": python or sys.executable, "env_vars": variables}


_VENV = ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")


def _plain(cfg: Json) -> Json:
    """The configuration with NeMo Gym's own checkout as the place of its files, where the trainer has one."""
    block = dict(cfg.get("initial_global_config_dict") or {})
    module = sys.modules.get("nemo_rl")
    root = Path(module.__path__[0]).parent / CHECKOUT if module is not None else Path()
    ours = dict(block.get("gym_ray") or {})
    if ours.get("path") is None and (root / "resources_servers").is_dir():
        ours["path"] = str(root)
    return {**cfg, "initial_global_config_dict": {**block, "gym_ray": ours}}
