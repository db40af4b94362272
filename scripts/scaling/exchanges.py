"""Resources actors: how many calls each gets from so many agents, and their cost beside Ray's own millisecond."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

from gym_ray.resources.actor import Pool
from gym_ray.resources.client import ActorResources
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.office import Facts, Office
from scaling import envs
from scaling.curve import Curve

LOOK_S = 6.0
SESSIONS = 16
"""Sessions of each agent at the actor, each with a tool call of 2 to 4 s under way: 5 requests a second."""
RAY_MS = 1.0
"""CPU-ms of a Ray call of an actor's method, on the actor's side (docs/performance.md: 1 to 2.7 for both sides)."""


class Actor:
    """An actor's handle without the actor: the office answers in this process."""

    def __init__(self, office: Office) -> None:
        self.exchange = SimpleNamespace(remote=lambda letter: asyncio.ensure_future(office.exchange(letter)))


def measure(quick: bool) -> list[Curve]:
    """The real links and the real office of one resources actor, with 5 to 400 agents."""
    curve = Curve(
        "exchanges",
        f"one resources actor, agents with {SESSIONS} sessions each at it, tools of 2 to 4 s, no Ray between them",
        "agents",
        ["exchanges/s", "requests per exchange", "CPU-ms per exchange, both sides", "actor CPU % with Ray's 1 ms"],
    )
    for agents in (5, 20) if quick else (5, 20, 50, 100, 200, 400):
        curve.add(agents, *asyncio.run(_one(agents)))
    return [curve]


async def _one(agents: int) -> tuple[float, float, float, float]:
    config = EnvironmentConfig(server=f"{envs.__file__}:Slow", placement="actor", max_sessions=100_000)
    office = Office("slow", config)
    facts = await office.describe()
    assert isinstance(facts, Facts)
    pool = Pool("slow", config, [Actor(office)], facts)
    clients, asked = [ActorResources(pool) for _ in range(agents)], [0]
    sessions = [asyncio.create_task(_session(client, asked)) for client in clients for _ in range(SESSIONS)]
    await asyncio.sleep(6.0)
    exchanges, requests = sum(one.exchanges for one in clients), asked[0]
    began, cpu = time.monotonic(), time.thread_time()
    await asyncio.sleep(LOOK_S)
    seconds, used = time.monotonic() - began, time.thread_time() - cpu
    exchanges, requests = sum(one.exchanges for one in clients) - exchanges, asked[0] - requests
    for session in sessions:
        session.cancel()
    await asyncio.gather(*sessions, return_exceptions=True)
    await asyncio.gather(*(client.aclose() for client in clients))
    await office.aclose()
    rate, each = exchanges / seconds, 1000 * used / exchanges
    return rate, requests / exchanges, each, 100 * rate * (each / 2 + RAY_MS) / 1000


async def _session(client: Any, asked: list[int]) -> None:
    session = await client.seed({"responses_create_params": {"input": "wait"}}, "task/0")
    try:
        for number in range(1000):
            asked[0] += 1
            await session.call_tool("wait", {"seconds": 2.0 + (number * 7 % 20) / 10})
    finally:
        await session.close()
