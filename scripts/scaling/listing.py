"""The list of replicas: what one look costs Ray's head (GCS), which answers the looks of all agents."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import ray

from gym_ray.models.addresses import REFRESH_S
from gym_ray.models.serve import endpoints
from scaling.curve import Curve, cpu_seconds

AGENTS = 1000


class Replica:
    """Registered under its name and never placed: GCS lists it, and no process is needed."""


def measure(quick: bool) -> list[Curve]:
    """The real list, on a real GCS, with so many named replicas."""
    curve = Curve(
        "listing",
        f"the real list of replicas, asked of a real GCS; every agent asks each {REFRESH_S:g} s",
        "replicas",
        ["GCS ms per list", "agent ms per list", f"GCS CPU % with {AGENTS:,} agents"],
    )
    told = endpoints.Endpoints("scale")
    actors: list[object] = []
    for replicas in (10, 50) if quick else (10, 30, 125, 250, 500, 1000):
        for number in range(len(actors), replicas):
            actors.append(ray.remote(num_cpus=0, resources={"nowhere": 1})(Replica).options(name=f"r{number}").remote())
            with mock.patch.object(endpoints, "own_name", lambda number=number: f"r{number}"):
                told.announce(f"http://10.{number >> 8}.{number & 255}.7:8000")
        while len(told.list()) < replicas:
            time.sleep(0.2)
        gcs_ms, own_ms = _cost(told)
        curve.add(replicas, gcs_ms, own_ms, 100 * gcs_ms / 1000 * AGENTS / REFRESH_S)
    for actor in actors:
        ray.kill(actor)
    return [curve]


def _cost(told: endpoints.Endpoints) -> tuple[float, float]:
    """CPU-ms of GCS and of the caller per list."""
    gcs = next(
        int(file.parent.name) for file in Path("/proc").glob("[0-9]*/comm") if file.read_text() == "gcs_server\n"
    )
    idle = _spent(gcs, lambda: time.sleep(3.0))[0] / 3.0
    count, seconds, used, own = 0, 0.0, 0.0, 0.0
    with ThreadPoolExecutor(4) as pool:
        while seconds < 4.0 and count < 2000:
            began = time.monotonic()
            spent, mine = _spent(gcs, lambda: list(pool.map(lambda _: told.list(), range(20))))
            count, seconds = count + 20, seconds + time.monotonic() - began
            used, own = used + spent, own + mine
    return 1000 * (used - idle * seconds) / count, 1000 * own / count


def _spent(pid: int, work: object) -> tuple[float, float]:
    before, own = cpu_seconds(pid), time.process_time()
    work()  # type: ignore[operator]
    return cpu_seconds(pid) - before, time.process_time() - own
