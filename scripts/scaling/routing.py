"""Sticky routing: what choosing a replica costs with so many of them, and whom a loss moves."""

from __future__ import annotations

import asyncio

from gym_ray.models.addresses import Address, Addresses
from scaling.curve import Curve, cpu_of

SESSIONS = 100_000


def measure(quick: bool) -> list[Curve]:
    """100,000 rollouts over 1 to 2,000 replicas; then 5 % of the replicas are lost."""
    curve = Curve(
        "routing",
        f"the real sticky table, {SESSIONS:,} rollouts; then 5 % of the replicas are lost",
        "replicas",
        ["us per call", "us per call, 5 % lost", "busiest / mean", "moved beyond the lost"],
    )
    for replicas in (1, 8, 128, 1000) if quick else (1, 8, 32, 125, 250, 500, 1000, 2000):
        curve.add(replicas, *asyncio.run(_one(replicas, SESSIONS // 10 if quick else SESSIONS)))
    return [curve]


async def _one(replicas: int, sessions: int) -> tuple[float, float, float, float]:
    fleet = [Address(f"http://10.{number >> 8}.{number & 255}.7:8000") for number in range(replicas)]
    routing, names = Addresses(fleet), [f"task-{number >> 3}/{number & 7}" for number in range(sessions)]
    timed = names[: min(sessions, 4_000_000 // max(400, replicas))]
    us = 1e6 * cpu_of(lambda: [routing.pick(name) for name in timed]) / len(timed)
    before = [routing.pick(name) for name in timed]
    load: dict[str, int] = {}
    for address in before:
        load[address.base] = load.get(address.base, 0) + 1
    lost = set(fleet[::20]) if replicas > 1 else set()
    for address in lost:
        # A minute's worth, so that the slower of two measurements sees the same as the faster.
        address.rests = 5
        await routing.lost(address)
    us_lost = 1e6 * cpu_of(lambda: [routing.pick(name) for name in timed]) / len(timed)
    after = [routing.pick(name) for name in timed]
    moved = sum(now is not then and then not in lost for now, then in zip(after, before, strict=True))
    return us, us_lost, max(load.values()) * replicas / len(timed), moved
