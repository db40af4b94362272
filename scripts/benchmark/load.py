"""What a run does under load: many rollouts in flight, slow verifiers, how soon a finished rollout is durable."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmark.endpoint import endpoint
from benchmark.lag import Lag
from benchmark.mock import Script
from benchmark.runs import ENVS, Job, collect

Say = Callable[[str], None]
WATCHED = "agent.kind=benchmark.lag:Watched"


@dataclass
class InFlight:
    """``share``: achieved / ideal rate; the ideal is ``in_flight`` rollouts per mean latency, from the first
    request to the last reply. ``kept``: rollouts in flight while there was work to begin, as a share of ``in_flight``.

    ``driver_rss_mib``: the driver's memory each second while agent workers run, from a third of that time on;
    ``lag``: worst stall of an agent worker's event loop. ``peak_in_flight``: as the endpoint saw it.
    ``ramp_s``: from the first request until nine tenths of ``in_flight`` were out.
    """

    in_flight: int
    rollouts: int
    latency_s: float
    rate_per_s: float
    share: float
    kept: float
    peak_in_flight: int
    ramp_s: float
    cpu_cores: float
    driver_rss_mib: list[float]
    total_rss_mib: float
    worker_rss_mib: float
    lag: Lag | None


def in_flight(count: int, waves: int, script: Script, say: Say) -> InFlight:
    """``waves`` times ``count`` rollouts, ``count`` at once."""
    job = Job(count * waves, overrides=(f"model.max_concurrency={count}", f"collect.in_flight={count}", WATCHED))
    with endpoint(replace(script, full=int(0.9 * count))) as mock:
        run = collect(job, mock)
    busy = run.mock["last"] - run.mock["first"]
    rate, ideal = job.rollouts / busy, count / (run.mock["delays"] / job.rollouts)
    say(f"{count:,} in flight: {rate:.0f}/s of {ideal:.0f}/s, {run.usage.total:.1f} CPU-s in {run.usage.wall:.0f} s")
    driver = [sample.rss.get("driver", 0.0) for sample in run.usage.samples if "agent worker" in sample.rss]
    return InFlight(
        in_flight=count,
        rollouts=job.rollouts,
        latency_s=script.latency,
        rate_per_s=rate,
        share=rate / ideal,
        kept=run.mock["area"] / (run.mock["asked"] - run.mock["first"]) / count,
        peak_in_flight=int(run.mock["max_in_flight"]),
        ramp_s=run.mock["filled"] - run.mock["first"],
        cpu_cores=run.usage.total / run.usage.wall,
        driver_rss_mib=[round(value, 1) for value in driver[len(driver) // 3 :]],
        total_rss_mib=run.usage.peak(),
        worker_rss_mib=run.usage.peak("agent worker"),
        lag=run.lag,
    )


def memory_per_1000(low: InFlight, high: InFlight) -> float:
    """MiB of the agent worker per 1,000 rollouts in flight."""
    return 1000 * (high.worker_rss_mib - low.worker_rss_mib) / (high.in_flight - low.in_flight)


@dataclass
class SlowVerifier:
    """``rate_per_s``: rollouts per second. ``overhead_cpu_ms``: CPU per rollout beyond the verifier's own 5 ms."""

    rate_per_s: float
    overhead_cpu_ms: float
    lag: Lag | None


def slow_verifier(rollouts: int, say: Say) -> SlowVerifier:
    """Rollouts whose verifier computes for 5 ms, declared ``cpu_bound``, one verify worker."""
    job = Job(0, env=f"{ENVS}:SlowVerifier", overrides=("model.max_concurrency=256", WATCHED))
    with endpoint(Script(latency=0.1)) as mock:
        small = collect(replace(job, rollouts=rollouts // 8), mock)
        large = collect(replace(job, rollouts=rollouts), mock)
    more = large.rollouts - small.rollouts
    cpu_ms = 1000 * (large.usage.total - small.usage.total) / more
    rate = more / (large.usage.wall - small.usage.wall)
    say(f"slow verifier: {rate:.0f} rollouts/s, {cpu_ms:.2f} CPU-ms each")
    return SlowVerifier(rate, cpu_ms - 5.0, large.lag)


@dataclass
class Durable:
    """Seconds from the last reply a rollout waits for to its record in the journal file."""

    p50_s: float
    p99_s: float
    worst_s: float
    rollouts: int


def finish_to_durable(rollouts: int, say: Say) -> Durable:
    """Single-turn rollouts of spread-out latency, watched from outside the run's processes."""
    job = Job(rollouts, group=1, overrides=("model.max_concurrency=64", "collect.in_flight=64"), tail=True)
    with endpoint(Script(latency=0.5, sigma=0.5, trace=True)) as mock:
        run = collect(job, mock)
    waits = sorted(run.durable[int(mark)] - when for mark, when in run.replied.items())
    say(f"durable after {statistics.median(waits):.3f} s (median of {len(waits)})")
    return Durable(statistics.median(waits), waits[int(0.99 * (len(waits) - 1))], waits[-1], len(waits))
