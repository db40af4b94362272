"""Reports: what each call to the real board actor costs, with Ray between it and the agents."""

from __future__ import annotations

import asyncio
import pickle
import time
from typing import Any

import ray

from gym_ray.collect.board import start_board
from scaling.board import tally
from scaling.curve import Curve, cpu_seconds

LOOK_S = 6.0


def measure(quick: bool) -> list[Curve]:
    """A real Ray actor, told by simulated agents."""
    return [asyncio.run(_reports(quick))]


async def _reports(quick: bool) -> Curve:
    curve = Curve(
        "reports", "a real board, told by agents once a second", "agents", ["board CPU %", "CPU-ms per report"]
    )
    board = start_board()
    pid = await _pid(board)
    reports = [tally(agent) for agent in range(400)]
    for agents in (50,) if quick else (50, 100, 200, 400):
        before, began, sent = cpu_seconds(pid), time.monotonic(), 0
        while time.monotonic() - began < LOOK_S:
            second = time.monotonic() + 1.0
            for part in range(0, agents, 20):
                named = range(part, min(part + 20, agents))
                await asyncio.gather(*(board.report.remote(f"w{one:040d}", "i0", reports[one]) for one in named))
                sent += len(named)
                await asyncio.sleep(max(0.0, min(20 / agents, second - time.monotonic())))
        used, seconds = cpu_seconds(pid) - before, time.monotonic() - began
        curve.add(agents, 100 * used / sent * agents, 1000 * used / sent)
        curve.notes = [f"{agents} agents: {sent / seconds:.0f} reports a second came about"]
    ray.kill(board)
    return curve


async def _pid(actor: Any) -> int:
    read = pickle.loads(pickle.dumps(actor))
    await read.read.remote()
    return int(next(one["Pid"] for one in _alive() if one["ActorID"] == actor._actor_id.hex()))


def _alive() -> list[dict[str, Any]]:
    from ray._private.state import actors

    return [{"Pid": one["Pid"], "ActorID": key} for key, one in actors().items()]
