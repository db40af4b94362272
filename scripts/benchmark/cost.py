"""CPU per rollout: the slope between a small and a large run, everything else equal.

What is paid once (Ray's start, imports, warm-up) cancels. Every process counts: driver, Ray's daemons, agent
workers, environment actors, model replicas, and the final job that writes the shards. The mock does not.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from benchmark.endpoint import Endpoint, endpoint
from benchmark.meter import Meter, Usage
from benchmark.mock import Script
from benchmark.runs import ENVS, Job, Run, collect


@dataclass(frozen=True)
class Size:
    """Rollouts of the small and the large run, and how often the pair is run."""

    small: int
    large: int
    repeats: int


QUICK = Size(2048, 24576, 1)
FULL = Size(2048, 40960, 2)
"""How many of its helpers Ray starts varies from run to run by some 2 CPU-s: the distance between the two runs
makes that less than 0.1 ms per rollout."""
ONE_SHARD = "collect.rows_per_shard=100000"
"""Several shards are written by another Ray Data job; its start would be a step in the slope."""


@dataclass
class Cost:
    """``cpu_ms``: per rollout, median over repeats (``spread``: all of them). ``by_process``: its parts.

    ``per_s``: further rollouts per second of wall time, start-up taken out. ``mock_ms``: the mock's own CPU.
    """

    cpu_ms: float
    spread: list[float]
    by_process: dict[str, float]
    per_s: float
    mock_ms: float
    rss_mib: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    """``script`` is None where the model is our own deployment. ``scale`` shrinks runs of dear rollouts."""

    title: str
    job: Job
    script: Script | None = field(default_factory=Script)
    scale: float = 1.0


MCQA = Job(0, overrides=("model.max_concurrency=256", ONE_SHARD))
LOOKUP = replace(MCQA, env=f"{ENVS}:Lookup")
SERVE = replace(MCQA, overrides=(*MCQA.overrides, "model.serve.engine_args={text_kb: 1.0}"))

SCENARIOS: dict[str, Scenario] = {
    "remote_single_turn": Scenario("one turn, groups of 8, 1 KB answer", MCQA),
    "serve_single_turn": Scenario("the same, the model is a Ray Serve deployment", SERVE, None),
    "remote_three_turn": Scenario("three turns, two tool calls, environment inline", LOOKUP, Script(turns=3), 0.5),
    "remote_three_turn_actor": Scenario(
        "the same, environment in a Ray actor",
        replace(LOOKUP, overrides=(*LOOKUP.overrides, "env.placement=actor")),
        Script(turns=3),
        0.5,
    ),
    "remote_no_groups": Scenario("one turn, one rollout per task", replace(MCQA, group=1)),
    "remote_jsonl_only": Scenario(
        "one turn, shards as JSONL only", replace(MCQA, overrides=(*MCQA.overrides, "collect.formats=[jsonl]"))
    ),
    "remote_adaptive": Scenario("one turn, adaptive concurrency", replace(MCQA, overrides=(ONE_SHARD,))),
    "remote_half_second": Scenario(
        "one turn, 0.5 s latency, 512 in flight",
        replace(MCQA, overrides=("model.max_concurrency=512", ONE_SHARD)),
        Script(0.5),
    ),
    "remote_20kb": Scenario("one turn, 20 KB answer", MCQA, Script(text_kb=20), 0.5),
    "remote_200kb": Scenario("one turn, 200 KB answer", MCQA, Script(text_kb=200), 0.1),
    "remote_tokens": Scenario("one turn, 1 KB answer with 256 token ids and logprobs", MCQA, Script(tokens=True)),
    "remote_tokens_20kb": Scenario(
        "one turn, 20 KB answer with 5,120 token ids and logprobs", MCQA, Script(text_kb=20, tokens=True), 0.25
    ),
    "serve_tokens": Scenario(
        "Ray Serve, 1 KB answer with 256 token ids and logprobs",
        replace(SERVE, overrides=(*MCQA.overrides, "model.serve.engine_args={text_kb: 1.0, tokens: true}")),
        None,
    ),
}


def measure(scenario: Scenario, size: Size, say: Callable[[str], None]) -> Cost:
    """Run a scenario's pairs and take slopes."""
    small, large = (max(64, int(count * scenario.scale)) for count in (size.small, size.large))

    def run(count: int, mock: Endpoint | None) -> Run:
        run = collect(replace(scenario.job, rollouts=count), mock)
        say(f"{count:,} rollouts: {run.usage.total:.2f} CPU-s, {run.usage.wall:.1f} s")
        return run

    def pairs(mock: Endpoint | None) -> list[tuple[Run, Run]]:
        return [(run(small, mock), run(large, mock)) for _ in range(size.repeats)]

    if scenario.script is None:
        return _slope(pairs(None))
    with endpoint(scenario.script) as mock:
        return _slope(pairs(mock))


def measure_floor(size: Size, say: Callable[[str], None]) -> Cost:
    """The bare client, metered in the same way."""

    def run(count: int, mock: Endpoint) -> Run:
        before = mock.stats()
        with Meter(lambda command: "client", frozenset({mock.pid})).running() as usage:
            arguments = [mock.base_url, str(count), "256"]
            subprocess.run([sys.executable, "-m", "benchmark.floor", *arguments], check=True, timeout=300)
        say(f"{count:,} requests: {usage.total:.2f} CPU-s, {usage.wall:.1f} s")
        return Run(count, usage, {"cpu": mock.stats()["cpu"] - before["cpu"]})

    with endpoint(Script()) as mock:
        return _slope([(run(size.small, mock), run(4 * size.large, mock)) for _ in range(size.repeats)])


def _slope(pairs: list[tuple[Run, Run]]) -> Cost:
    def slopes(of: Callable[[Run], float]) -> list[float]:
        return [(of(large) - of(small)) / (large.rollouts - small.rollouts) for small, large in pairs]

    def cpu_of(name: str) -> Callable[[Run], float]:
        return lambda run: run.usage.cpu.get(name, 0.0)

    spread = [1000 * value for value in slopes(lambda run: run.usage.total)]
    names = {name for pair in pairs for run in pair for name in run.usage.cpu}
    parts = {name: 1000 * statistics.median(slopes(cpu_of(name))) for name in names}
    largest = pairs[0][1].usage
    return Cost(
        cpu_ms=statistics.median(spread),
        spread=spread,
        by_process=dict(sorted(parts.items(), key=lambda part: -part[1])),
        per_s=1 / statistics.median(slopes(lambda run: run.usage.wall)),
        mock_ms=1000 * statistics.median(slopes(lambda run: run.mock.get("cpu", 0.0))),
        rss_mib=_peaks(largest),
    )


def _peaks(usage: Usage) -> dict[str, float]:
    names = {name for sample in usage.samples for name in sample.rss}
    return {name: usage.peak(name) for name in sorted(names)}
