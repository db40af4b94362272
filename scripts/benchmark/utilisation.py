"""Tokens per second of ``gym-ray collect`` against those of the bare engine, on the same work.

Both sides sample answers of the same lengths from the same prompts with the same parameters, and with the same
number of rollouts in flight. They take turns (collect, bare, collect, bare), because a shared machine drifts;
while one runs, the other's engine is idle or gone. Time counts from the first rollout's start to the last one's
end, so that filling and draining are in it on both sides.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmark.bare import forced, room
from benchmark.meter import Meter
from benchmark.runs import ENVS, execute, label, workplace

GROUP = 8
LENGTHS = (48, 144)
"""Shortest and longest answer in tokens; they differ, so that rollouts do not end in waves."""
WORDS = "list what you know about the following numbers and say which of them are even "
END_TOKEN = 2
"""Of the embedded policy."""


@dataclass(frozen=True)
class Side:
    """One run of one side. ``cached``: share of prompt tokens found in the prefix cache. ``cpu``: cores by process."""

    tokens_per_s: float
    cached: float
    cpu: dict[str, float]


@dataclass(frozen=True)
class Utilisation:
    """``ratio``: median of collect's tokens per second over that of the bare engine."""

    in_flight: int
    turns: int
    collect: list[Side]
    bare: list[Side]

    @property
    def ratio(self) -> float:
        """See the class."""
        return _median(self.collect) / _median(self.bare)


def _median(sides: list[Side]) -> float:
    return statistics.median(side.tokens_per_s for side in sides)


def measure(in_flight: int, turns: int, repeats: int, say: Callable[[str], None]) -> Utilisation:
    """``repeats`` pairs of runs, each of at least four times ``in_flight`` rollouts."""
    found = Utilisation(in_flight, turns, [], [])
    with _bare() as bare:
        for _ in range(repeats):
            with workplace() as place:
                found.collect.append(_collect(place, in_flight, turns))
                say(_line("collect", found.collect[-1]))
                found.bare.append(_replay(bare, place, in_flight))
                say(_line("bare", found.bare[-1]))
    say(f"{in_flight} in flight, {turns} turn(s): {found.ratio:.3f}")
    return found


def _line(name: str, side: Side) -> str:
    cpu = ", ".join(f"{name} {cores:.2f}" for name, cores in side.cpu.items() if cores >= 0.01)
    return f"{name}: {side.tokens_per_s:,.0f} tokens/s, {side.cached:.0%} of prompt tokens cached ({cpu} cores)"


def _collect(place: Path, in_flight: int, turns: int) -> Side:
    tasks, run = place / "tasks.jsonl", place / "run"
    rollouts = max(512, 4 * in_flight) // turns
    tasks.write_text("".join(_task(number, turns) for number in range(rollouts // GROUP)))
    settings = [
        f"env={ENVS}:Chat",
        "model=tiny",
        f"tasks.path={tasks}",
        f"run_dir={run}",
        f"collect.rollouts_per_task={GROUP}",
        f"collect.in_flight={in_flight}",
    ]
    with Meter(label).running() as usage:
        execute([str(Path(sys.executable).parent / "gym-ray"), "collect", *settings], place)
    rows = sorted(_rows(run), key=lambda row: row["gym_ray"]["started"])
    if len(rows) != rollouts // GROUP * GROUP:
        raise RuntimeError(f"{len(rows)} of {rollouts} rollouts were made")
    (place / "work.json").write_text(json.dumps([row["turns"] for row in rows]))
    seconds = max(row["gym_ray"]["finished"] for row in rows) - rows[0]["gym_ray"]["started"]
    sampled = sum(count for row in rows for _, _, count in row["turns"])
    tokens = json.loads((run / "metrics.json").read_text())["environments"]
    ((_, its),) = tokens.items()
    cores = {name: cpu / usage.wall for name, cpu in sorted(usage.cpu.items(), key=lambda one: -one[1])}
    return Side(sampled / seconds, its["tokens"]["cached_tokens"] / its["tokens"]["prompt_tokens"], cores)


def _task(number: int, turns: int) -> str:
    low, high = LENGTHS
    count = low + (number * 37) % (high - low)
    prompt = f"Question {number}: " + WORDS * 6 + " ".join(str(number * 7 + step) for step in range(20))
    extra = {"extra_body": json.dumps(forced(count, END_TOKEN))}
    params = {"input": prompt, "temperature": 1.0, "top_p": 1.0, "max_output_tokens": room(count), "metadata": extra}
    return json.dumps({"responses_create_params": params, "turns": turns}) + "\n"


def _rows(run: Path) -> Iterator[dict[str, Any]]:
    """Every rollout, with ``turns`` as :mod:`benchmark.bare` wants them."""
    ids = {}
    for part in sorted(run.glob("rollouts/part-*.parquet")):
        for row in pq.read_table(part, columns=["task_id", "rollout_index", "token_ids"]).to_pylist():
            ids[row["task_id"], row["rollout_index"]] = row["token_ids"]
    for part in sorted(run.glob("rollouts/part-*.jsonl")):
        for line in part.read_text().splitlines():
            row = json.loads(line)
            ours = row["gym_ray"]
            yield {"gym_ray": ours, "turns": _turns(ids[ours["task_id"], ours["rollout_index"]], ours["segments"])}


def _turns(ids: list[int], segments: list[dict[str, Any]]) -> list[list[Any]]:
    turns: list[list[Any]] = []
    for segment in segments:
        own, kept = ids[: segment["length"]], 0
        ids = ids[segment["length"] :]
        for prompt_end, sampled_end in segment["spans"]:
            turns.append([kept, own[kept:prompt_end], sampled_end - prompt_end])
            kept = sampled_end
    return turns


@contextmanager
def _bare() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmark.bare"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=_environment()
    )
    try:
        _answer(process)
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


def _environment() -> dict[str, str]:
    """Of a replica of the embedded policy."""

    quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    return {**os.environ, **quiet, "VLLM_CPU_KVCACHE_SPACE": "1"}


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the bare engine ended")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _replay(process: subprocess.Popen[str], place: Path, in_flight: int) -> Side:
    assert process.stdin is not None
    with Meter(lambda command: "bare engine").running() as usage:
        print(json.dumps({"work": str(place / "work.json"), "in_flight": in_flight}), file=process.stdin, flush=True)
        found = _answer(process)
    cores = {name: cpu / usage.wall for name, cpu in usage.cpu.items()}
    return Side(found["sampled"] / found["seconds"], found["cached"] / found["prompt"], cores)
