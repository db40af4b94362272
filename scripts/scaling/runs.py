"""A run for the simulation: one environment, one remote model, and a journal as many workers would leave it."""

from __future__ import annotations

import json
import math
import secrets
import time
from pathlib import Path
from typing import Any

from gym_ray.collect.config import CollectConfig, RunConfig
from gym_ray.collect.journal.frames import FILE_MAGIC, Kind, make_frame
from gym_ray.collect.journal.record import encode
from gym_ray.collect.rundir import JOURNAL, RunDir
from gym_ray.models.config import ModelConfig
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.types.items import user_message
from gym_ray.types.outcome import Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.trajectory import Trajectory

SERVER = "gym_ray.environments.mcqa:Mcqa"
PAYLOAD = 1000
"""Bytes of a record in a simulated journal. A scan of segments that were closed in peace does not read them."""


def config(folder: Path, base_url: str = "http://127.0.0.1:9/v1", **collect: Any) -> RunConfig:
    """A run of mcqa at ``folder``."""
    model = ModelConfig(name="mock", base_url=base_url, max_concurrency=collect.get("in_flight", 64))
    envs = {"mcqa": EnvironmentConfig(server=SERVER, max_sessions=1_000_000)}
    return RunConfig(run_dir=str(folder), envs=envs, model=model, collect=CollectConfig(**collect))


def task_row(number: int) -> bytes:
    """One task of mcqa, some 700 bytes."""
    question = f"Question {number}: which of these is the answer? " + "It takes a while to read all of this. " * 10
    options = [{"A": "the first"}, {"B": "the second"}, {"C": "the third"}, {"D": "the fourth"}]
    row = {
        "responses_create_params": {"input": [user_message(question)]},
        "expected_answer": "A",
        "options": options,
        "task_id": f"task-{number}",
    }
    return json.dumps(row).encode()


def record(task: int, index: int) -> bytes:
    """An encoded rollout without tokens."""
    row = task_row(task)
    trajectory = Trajectory(json.loads(row)["responses_create_params"]["input"], model="mock")
    rollout = Rollout(task, f"task-{task}", index, "mcqa", "ToolLoop", row, {}, Outcome.SCORED, started=time.time())
    rollout.reward, rollout.trajectory = Reward(1.0), trajectory
    return encode(rollout)


def write_journal(run: RunDir, segments: int, rollouts: int, *, closed: bool = True, size: int = PAYLOAD) -> None:
    """The journal that ``segments`` workers leave after ``rollouts`` rollouts in groups of 8; ``size``: bytes each."""
    payload = secrets.token_bytes(size)
    each = math.ceil(rollouts / segments / 8)
    for segment in range(segments):
        frames = [FILE_MAGIC]
        for task in range(segment * each, min((segment + 1) * each, math.ceil(rollouts / 8))):
            frames += [make_frame(Kind.START, task, index, 0, 0, math.nan, b"") for index in range(8)]
            frames += [make_frame(Kind.ROLLOUT, task, index, 0, 0, 1.0, payload) for index in range(8)]
        if closed:
            frames.append(make_frame(Kind.CLOSE, 0, 0, 0, 0, math.nan, b""))
        name = f"worker{segment:05d}-{segment:08x}.seg"
        Path(run.path(f"{JOURNAL}/{name}")).write_bytes(b"".join(frames))
