"""What a trivial execution costs behind the wall, beside a bare interpreter started for it.

CPU is that of all processes, as a slope between a small and a large run, so that what starts once cancels; rates and
waits are wall time with one execution at a time.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass

from gym_ray.sandbox import Command, SandboxConfig, SandboxPool

SMALL, LARGE = 20, 220
"""Executions of the two runs."""
SOURCE = "print(1)"
Step = Callable[[], Awaitable[None]]
Way = Callable[[int], Coroutine[None, None, list[float]]]


@dataclass(frozen=True)
class Execution:
    """One way of executing. ``cpu_ms``: per execution, everything included. ``wait_ms``: median wall time of one."""

    title: str
    cpu_ms: float
    wait_ms: float
    per_s: float


def measure(quick: bool) -> dict[str, Execution]:
    """All ways, bare first."""
    large = SMALL + (LARGE - SMALL) // (4 if quick else 1)
    ways = {
        "bare": ("a bare `python -I -S` subprocess", _bare),
        "cold": ("a fresh sandbox per execution, none kept ready", _cold),
        "warm": ("the same, one kept ready", _warm),
        "reused": ("a process in an open sandbox", _reused),
        "session": ("a cell in an open interpreter", _session),
    }
    return {name: _slope(title, way, large) for name, (title, way) in ways.items()}


def _slope(title: str, way: Way, large: int) -> Execution:
    cpu: list[float] = []
    waits: list[float] = []
    for count in (SMALL, large):
        before = _cpu_s()
        waits = asyncio.run(way(count))
        cpu.append(_cpu_s() - before)
    milliseconds = 1000 * (cpu[1] - cpu[0]) / (large - SMALL)
    return Execution(title, milliseconds, 1000 * statistics.median(waits), len(waits) / sum(waits))


def _cpu_s() -> float:
    # Launchers are waited for at the end of each run, so their whole families are among the children.
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


async def _timed(count: int, step: Step, pause_s: float = 0.0) -> list[float]:
    waits = []
    for _ in range(count):
        began = time.perf_counter()
        await step()
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(pause_s)
    return waits


async def _bare(count: int) -> list[float]:
    async def step() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", "-c", SOURCE, stdout=asyncio.subprocess.PIPE
        )
        _check((await process.communicate())[0])

    return await _timed(count, step)


async def _fresh(count: int, warm: int, pause_s: float) -> list[float]:
    pool = SandboxPool(SandboxConfig(warm=warm, starts_per_s=10_000))

    async def step() -> None:
        async with pool.sandbox() as sandbox:
            _check((await sandbox.run(Command(python=SOURCE))).stdout)

    try:
        return await _timed(count, step, pause_s)
    finally:
        await pool.aclose()


async def _cold(count: int) -> list[float]:
    return await _fresh(count, 0, 0.0)


async def _warm(count: int) -> list[float]:
    # The pause is the work of the others: a verifier is not asked without end.
    return await _fresh(count, 1, 0.03)


async def _reused(count: int) -> list[float]:
    pool = SandboxPool(SandboxConfig(warm=0))
    try:
        async with pool.sandbox() as sandbox:

            async def step() -> None:
                _check((await sandbox.run(Command(python=SOURCE))).stdout)

            return await _timed(count, step)
    finally:
        await pool.aclose()


async def _session(count: int) -> list[float]:
    pool = SandboxPool(SandboxConfig(warm=0))
    try:
        async with pool.sandbox() as sandbox:

            async def step() -> None:
                _check((await sandbox.execute(SOURCE)).stdout)

            return await _timed(count, step)
    finally:
        await pool.aclose()


def _check(stdout: bytes) -> None:
    if stdout != b"1\n":
        raise RuntimeError(f"a sandbox printed {stdout!r}")
