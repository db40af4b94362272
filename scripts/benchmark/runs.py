"""One ``gym-ray collect`` as a user would start it, metered from its first process to its last."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.endpoint import Endpoint
from benchmark.lag import FOLDER, Lag, worst
from benchmark.meter import Meter, Usage, reap_orphans
from benchmark.tail import JournalTail

LAG = "lag"
SCRIPTS = Path(__file__).parents[1]
ENVS = Path(__file__).parent / "envs.py"
TIMEOUT_S = 900

LABELS = [
    (r"gym-ray (collect|serve)|gym_ray\.cli", "driver"),
    (r"gcs_server", "Ray: gcs"),
    (r"raylet/raylet", "Ray: raylet"),
    (r"log_monitor|dashboard|runtime_env/agent|monitor\.py", "Ray: agents"),
    (r"ray::.*BlockWorker", "agent worker"),
    (r"ray::Board", "board"),
    (r"ray::ServeReplica|ray::.*Replica", "model replica"),
    (r"VLLM::", "engine"),
    (r"ray::ServeController|ray::Proxy|haproxy|ray::.*[Pp]roxy", "Serve control"),
    (r"verify_worker|forkserver|spawn_main", "verify workers"),
    (r"ray::IDLE|default_worker", "Ray: idle workers"),
]
"""Who a command line is; other Ray workers go by their own title."""


def label(command: str) -> str:
    """The name under which a process is booked."""
    for pattern, name in LABELS:
        if re.search(pattern, command):
            return name
    title = re.match(r"ray::([\w.]+)", command)
    return title[1] if title else "other"


@dataclass
class Run:
    """What one collection did.

    ``mock``: how the endpoint's counters moved. ``lag``: worst stall of an agent worker's event loop (None:
    not watched). ``replied``: Unix second of the endpoint's reply by the prompt's mark, ``durable``: of the
    record in the journal by task number (both empty unless ``Job.tail``).
    """

    rollouts: int
    usage: Usage
    mock: dict[str, float] = field(default_factory=dict)
    lag: Lag | None = None
    durable: dict[int, float] = field(default_factory=dict)
    replied: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What to collect: ``rollouts`` in groups of ``group``, with further ``overrides`` of the command line."""

    rollouts: int
    group: int = 8
    env: str = "mcqa"
    overrides: tuple[str, ...] = ()
    tail: bool = False


def collect(job: Job, mock: Endpoint | None) -> Run:
    """Run it to its end. Raises RuntimeError, with the end of its output, when it fails."""
    with workplace() as place:
        tasks, run_dir = place / "tasks.jsonl", place / "run"
        tasks.write_text("".join(task_line(number) for number in range(job.rollouts // job.group)))
        before = mock.stats() if mock else {}
        meter = Meter(label, frozenset({mock.pid} if mock else ()))
        follow = JournalTail(run_dir) if job.tail else contextlib.nullcontext()
        with follow as tail, meter.running() as usage:
            execute(command(job, mock, tasks, run_dir), place)
        reap_orphans(frozenset({mock.pid} if mock else ()))
        after = mock.stats() if mock else {}
        _check(run_dir, job.rollouts)
        run = Run(job.rollouts, usage, _moved(before, after), worst(place / LAG))
        if tail is not None:
            run.durable, run.replied = tail.durable(), after["replied"]
        return run


def command(job: Job, mock: Endpoint | None, tasks: Path, run_dir: Path) -> list[str]:
    """The command line."""
    model = [f"model.base_url={mock.base_url}", *REMOTE] if mock else SERVE
    common = [f"tasks.path={tasks}", f"run_dir={run_dir}", f"collect.rollouts_per_task={job.group}"]
    return [str(Path(sys.executable).parent / "gym-ray"), "collect", f"env={job.env}", *model, *common, *job.overrides]


REMOTE = ["model=openai", "model.name=mock", "model.api_key_env=null"]
SERVE = [
    "model=vllm",
    "model.serve.engine=benchmark.engine:ScriptedModel",
    "model.serve.path=scripted",
    "model.serve.num_gpus=0",
    "model.serve.num_cpus=0.5",
]


def task_line(number: int) -> str:
    """One task, in the layout of NeMo Gym's ``mcqa``."""
    text = f"question-{number:06d}\nWhich of these letters comes first?\nA: a\nB: b\nAnswer with \\boxed{{letter}}."
    row = {
        "responses_create_params": {"input": [{"role": "user", "content": text}], "temperature": 1.0},
        "options": [{"A": "a"}, {"B": "b"}],
        "expected_answer": "A",
    }
    return json.dumps(row) + "\n"


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder for one run, gone afterwards."""
    place = Path(tempfile.mkdtemp(prefix="grb-"))
    (place / LAG).mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def execute(line: list[str], place: Path) -> None:
    """Run a command line in ``place``. Raises RuntimeError, with the end of its output, when it fails."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(SCRIPTS),
        "RAY_TMPDIR": str(place),
        "RAY_USAGE_STATS_ENABLED": "0",
        "NO_COLOR": "1",
        FOLDER: str(place / LAG),
    }
    log = place / "output.txt"
    with log.open("wb") as output:
        done = subprocess.run(
            line, cwd=place, env=environment, stdout=output, stderr=output, timeout=TIMEOUT_S, check=False
        )
    if done.returncode != 0:
        text = log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{' '.join(line)}\nended with {done.returncode}:\n{text}")


def _check(run_dir: Path, rollouts: int) -> None:
    """A number counts only when every rollout was made and scored 1.0."""
    metrics = json.loads((run_dir / "metrics.json").read_text())
    rewards = [its["reward"]["mean"] for its in metrics["environments"].values()]
    if metrics["rollouts"]["scored"] != rollouts or rewards != [1.0]:
        raise RuntimeError(f"not every rollout was scored 1.0: {metrics}")


def _moved(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    steady = ("max_in_flight", "first", "last", "filled", "asked")
    return {
        name: value if name in steady else value - before[name]
        for name, value in after.items()
        if isinstance(value, int | float)
    }
