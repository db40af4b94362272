"""What a person waits for before anything happens: imports, ``--help``, an environment actor's first session."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmark.meter import reap_orphans

FIRST_SEED = """
import asyncio, json, time, ray
from gym_ray.resources.actor import start_pool
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.connect import connect
ray.init("local", num_cpus=4, include_dashboard=False, object_store_memory=150_000_000, log_to_driver=False,
         logging_level="error")
config = EnvironmentConfig(server="gym_ray.environments.mcqa:Mcqa", placement="actor")
row = {"responses_create_params": {"input": "A or B?"}, "options": [{"A": "a"}, {"B": "b"}], "expected_answer": "A"}
time.sleep(3)  # Ray's idle workers come up
async def first():
    began = time.perf_counter()
    resources = connect("mcqa", config, start_pool("mcqa", config))
    session = await resources.seed(row, "rollout-0")
    seconds = time.perf_counter() - began
    await session.close()
    await resources.aclose()
    return seconds
print(json.dumps(asyncio.run(first())))
"""


def import_s(runs: int = 5) -> float:
    """Median wall seconds of ``python -c 'import gym_ray'``."""
    return _median([sys.executable, "-c", "import gym_ray"], runs)


def help_s(runs: int = 5) -> float:
    """Median wall seconds of ``gym-ray --help``."""
    return _median([str(Path(sys.executable).parent / "gym-ray"), "--help"], runs)


def actor_to_first_seed_s(runs: int = 3) -> float:
    """Median wall seconds from asking for an environment's actors to the first open session; Ray is up."""
    return statistics.median(_first_seed() for _ in range(runs))


def _first_seed() -> float:
    with tempfile.TemporaryDirectory(prefix="grb-", ignore_cleanup_errors=True) as place:
        environment = {**os.environ, "RAY_TMPDIR": place, "RAY_USAGE_STATS_ENABLED": "0"}
        done = subprocess.run(
            [sys.executable, "-c", FIRST_SEED],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        reap_orphans(frozenset())
    if done.returncode != 0:
        raise RuntimeError(f"environment actor: {done.stderr[-2000:]}")
    seconds: float = json.loads(done.stdout.splitlines()[-1])
    return seconds


def _median(command: list[str], runs: int) -> float:
    def once() -> float:
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=60)
        return time.perf_counter() - began

    return statistics.median(once() for _ in range(runs))
