"""The board: what reports of so many agents cost it, and what a look at them costs the driver."""

from __future__ import annotations

import pickle

from gym_ray.collect.board import Board
from gym_ray.collect.tally import EnvironmentTally, Oldest, Tally, Times
from gym_ray.collect.watchdog import Watchdog
from scaling.curve import Curve, cpu_of

ENVIRONMENTS, PHASES = 8, ("seed", "agent", "model", "verify", "total")
LOOKS = 20
"""Looks of the driver, which takes two a second."""


def measure(quick: bool) -> list[Curve]:
    """The real board fed with the reports of 10 to 2,000 agents, 8 environments, 10 oldest flights each."""
    curve = Curve(
        "board",
        "reports once a second and looks twice a second, 8 environments; without Ray's own cost per call",
        "agents",
        ["board CPU %", "driver CPU %", "look kB", "board CPU % after 10 deaths each"],
    )
    for agents in (10, 100) if quick else (10, 50, 100, 200, 500, 1000, 2000):
        curve.add(agents, *_one(agents))
    return [curve]


def _one(agents: int) -> tuple[float, float, float, float]:
    board, watchdog = Board(), Watchdog(300)
    reports = [pickle.dumps((f"w{agent:040d}", "i0", tally(agent))) for agent in range(agents)]
    reported = cpu_of(lambda: [board.report(*pickle.loads(report)) for report in reports])
    looks: list[bytes] = []
    looked = cpu_of(lambda: looks.extend(pickle.dumps(board.read()) for _ in range(LOOKS))) / LOOKS
    shown = cpu_of(lambda: [watchdog.look(1.0, pickle.loads(look)) for look in looks]) / LOOKS
    for death in range(1, 11):
        for agent in range(agents):
            board.report(f"w{agent:040d}", f"i{death}", tally(agent))
    later = cpu_of(lambda: [pickle.dumps(board.read()) for _ in range(LOOKS)]) / LOOKS
    return 100 * (reported + 2 * looked), 200 * shown, len(looks[0]) / 1000, 100 * (reported + 2 * later)


def tally(agent: int) -> Tally:
    """What an agent tells."""
    phases = {phase: Times([agent] * 13, 1.5 * agent) for phase in PHASES}
    counts = EnvironmentTally(agent, agent, agent, 0.5 * agent, {"truncated": agent}, phases)
    oldest = [Oldest(f"env/task-{agent}/{index}", "agent", 60.0 - index, f"w{agent:040d}") for index in range(10)]
    names = [f"environment_{number}" for number in range(ENVIRONMENTS)]
    return Tally(dict.fromkeys(names, counts), 10, 10, 10, 100, 0, 0, 1.0, 0.1, oldest)
