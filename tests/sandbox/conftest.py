"""A pool of sandboxes behind the best wall of this machine, and a census of what is left on it afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gym_ray.sandbox import Command, Limits, Result, SandboxConfig, SandboxPool
from gym_ray.types.errors import UserError

MARK = "GYM_RAY_TEST_MARK"
QUICK = Limits(wall_s=20.0, cpu_s=10.0, memory_bytes=256 << 20, processes=32, output_bytes=1 << 16)


@pytest.fixture(scope="session")
def pool() -> SandboxPool:
    """One for all tests, each on its own event loop: with nothing waiting or kept ready it is tied to none."""
    try:
        return SandboxPool(SandboxConfig(max_running=4, warm=0))
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture
def run(pool: SandboxPool) -> Callable[..., object]:
    """Runs a program in a sandbox of its own; its variables carry a mark by which its processes can be found."""

    async def go(python: str, limits: Limits = QUICK, **more: object) -> Result:
        async with pool.sandbox() as sandbox:
            return await sandbox.run(Command(python=python, env={MARK: str(os.getpid())}, **more), limits)

    return go


def descendants(root: int) -> set[int]:
    """Process ids below ``root``."""
    parents = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    family, grown = {root}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return family - {root}


def settled(seconds: float = 10.0) -> set[int]:
    """What is left of sandboxes once they had time to end: all that is below a launcher, which has no children idle."""
    deadline = time.monotonic() + seconds
    while True:
        launchers = (pid for pid in descendants(os.getpid()) if "guest.launcher" in _command(pid))
        left = {pid for launcher in launchers for pid in descendants(launcher)}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
