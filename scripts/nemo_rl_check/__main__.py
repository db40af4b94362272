"""``scripts/test_nemo_rl CHECKOUT``: prints the table. Exit code 1 when a row of it failed."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import subprocess
import sys
import tempfile
import threading
import typing
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import ray
import typing_extensions

from gym_ray.collect.config import RunConfig
from gym_ray.collect.driver import collect
from gym_ray.collect.library import library
from gym_ray.integrations.nemo_rl import install
from gym_ray.models import tiny
from nemo_rl_check.table import Table

UNUSED = ("mlflow", "swanlab", "wandb", "tensorboard", "pynvml", "decord")
"""Loggers and a video reader: NeMo-RL imports them, nothing here uses them."""


def make_importable() -> None:
    """Let NeMo-RL be imported on a CPU, without what nothing here uses, by a Python that it no longer supports."""
    if sys.version_info < (3, 12):
        typing.TypedDict = typing_extensions.TypedDict  # what pydantic asks for before 3.12
    for name in UNUSED:
        if importlib.util.find_spec(name) is None:
            module = MagicMock(name=name)
            module.__spec__, module.__path__ = ModuleSpec(name, None), []
            sys.modules[name] = module


def start_workers(count: int, tokenizer: Any) -> tuple[list[Any], list[str]]:
    """Generation workers in a thread of their own, and their addresses."""
    from nemo_rl_check.live import MAX_MODEL_LEN, SAMPLING, speak
    from nemo_rl_check.worker import Worker

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    workers = [Worker(tokenizer, speak, SAMPLING, MAX_MODEL_LEN, seed) for seed in range(count)]
    urls = [asyncio.run_coroutine_threadsafe(worker.start(), loop).result(60) for worker in workers]
    return workers, urls


def collected(folder: Path, urls: list[str]) -> str:
    """A run of `gym-ray collect` against the workers, for the data loaders."""
    from nemo_rl_check.live import SAMPLING

    run = str(folder / "collected")
    envs = {name: library()[name] for name in ("mcqa", "workplace_easy")}
    model = {"name": "policy", "base_url": urls, "token_ids": "nemo_rl", "dialect": "chat", "sampling": SAMPLING}
    limits = {"rollouts_per_task": 4, "max_failed_fraction": 1.0}
    collect(RunConfig.model_validate({"run_dir": run, "envs": envs, "model": model, "collect": limits}))
    return run


def main() -> int:
    parser = argparse.ArgumentParser(prog="test_nemo_rl", description=__doc__)
    parser.add_argument("checkout", type=Path, help="a NeMo-RL checkout, of any commit from v0.5.0 on")
    parser.add_argument("--live", action="store_true", help="the rollout drivers only: loaders of releases differ")
    words = parser.parse_args()
    make_importable()
    import nemo_rl.environments.nemo_gym as module
    from transformers import AutoTokenizer

    from nemo_rl_check.live import Live
    from nemo_rl_check.loaders import check_loaders

    original, table = module.NemoGym, Table()
    with table.row("nemo_rl.environments.nemo_gym.NemoGym", "`gym_ray.integrations.nemo_rl.install()`") as row:
        install()
        row.result = f"replaced by our {'streaming' if module.NemoGym.streaming else 'list-returning'} actor"
    tokenizer = AutoTokenizer.from_pretrained(str(Path(tiny.__file__).parent / "weights"))
    folder = Path(tempfile.mkdtemp(prefix="nemo_rl_check-"))
    ray.init(num_cpus=8, include_dashboard=False, object_store_memory=300_000_000, log_to_driver=False)
    workers, urls = start_workers(2, tokenizer)
    Live(table, workers, urls, tokenizer, folder).check(original)
    if not words.live:
        check_loaders(table, collected(folder, urls), folder, tokenizer)
    ray.shutdown()
    print(f"\nNeMo-RL {_commit(words.checkout)}, {datetime.now(UTC):%Y-%m-%d}\n\n{table.markdown()}")
    return int(table.failed > 0)


def _commit(checkout: Path) -> str:
    told = checkout / "COMMIT"
    if told.is_file():
        return told.read_text().strip()
    done = subprocess.run(
        ["git", "-C", str(checkout), "describe", "--tags", "--always"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "of an unknown commit"


if __name__ == "__main__":
    sys.exit(main())
