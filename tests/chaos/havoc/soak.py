"""A soak: one driver collects for half an hour while others are killed once in a while, and who lives is measured.

One node is spared, with everything on it, so that there are agents, actors and replicas as old as the driver.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.chaos.havoc.campaign import Round
from tests.chaos.havoc.dice import AGENT, DRIVER, NAMES, NODE, REPLICA, RESOURCES, Dice
from tests.chaos.havoc.meter import HEADER, Sample, Trend, look, trends
from tests.chaos.havoc.nodes import Nodes, raylet_of
from tests.chaos.havoc.table import faults
from tests.chaos.havoc.work import Work

SAMPLE_S = 15.0
RATE = 40.0
"""Rollouts a second that are never reached: there is always work left."""
OURS = (DRIVER, AGENT, RESOURCES, REPLICA)
"""Whose growth is ours; Ray's own processes are measured and told."""
HEAD = {"Serve's controller": "ray::ServeController", "Ray Data's statistics": "ray::_StatsActor"}


class Soak(Round):
    """A run that is sampled, and ended by Ctrl-C when its time is up."""

    def __init__(self, folder: Path, work: Work, nodes: Nodes, dice: Dice, say: Callable[[str], None]) -> None:
        super().__init__(folder, work, nodes, dice, say)
        self.samples: list[Sample] = []
        self._file = (folder / "soak.csv").open("w")
        print(HEADER, file=self._file, flush=True)

    def sample(self, at: float) -> None:
        """Look at everybody."""
        for name, pid in self._everybody():
            found = look(at, name, pid)
            if found is not None:
                self.samples.append(found)
                print(found.line(), file=self._file, flush=True)

    def _everybody(self) -> Iterator[tuple[str, int]]:
        yield DRIVER, self._run.pid
        for kind, word in NAMES.items():
            for node in self._nodes.workers:
                yield from ((kind, pid) for pid in self._nodes.processes(node, word))
        head = self._nodes.head
        for name, word in HEAD.items():
            yield from ((name, pid) for pid in self._nodes.processes(head, word))
        yield "raylet of the head", raylet_of(head)
        yield "GCS", int(head.all_processes["gcs_server"][0].process.pid)

    def soak(self, minutes: float, every_s: float) -> float:
        """The whole of it; returns how many seconds were sampled."""
        self._run.__enter__()
        try:
            self._wait_for_more()
            began = time.monotonic()
            next_kill = began + every_s
            while (now := time.monotonic()) - began < 60 * minutes:
                self.sample(now - began)
                if now > next_kill:
                    self._strike()
                    next_kill = now + every_s * self._dice.random.uniform(0.5, 1.5)
                assert self._rest(SAMPLE_S), "there was too little work"
            seconds = time.monotonic() - began
            self.sample(seconds)
            os.kill(self._run.pid, signal.SIGINT)
            assert self._run.process is not None
            assert self._run.process.wait(120) == 130
        finally:
            self._run.__exit__()
        return seconds


def soak(folder: Path, nodes: Nodes, seed: int, minutes: float, every_s: float, say: Callable[[str], None]) -> int:
    """Run a soak and print what came of it; 0 when nothing grew and no row is wrong."""
    tasks = int(RATE * 60 * minutes / 4)
    work = Work(counters=tasks * 6 // 7, groups=tasks // 7)
    dice = Dice(seed, nodes, [AGENT, RESOURCES, REPLICA, NODE], nodes.workers[0])
    one = Soak(folder / "soak", work, nodes, dice, say)
    seconds = one.soak(minutes, every_s)
    outcome = one.outcome(seconds, whole=False)
    found = trends(one.samples, seconds)
    print(f"\n{minutes:g} minutes, {outcome.verdict.rows} rollouts, {sum(outcome.kills.values())} kills")
    print(trend_table(found), flush=True)
    wrong = faults(outcome)
    for line in [*wrong, *outcome.verdict.given_up][:20]:
        say(line)
    return 1 if wrong or not all(trend.flat for trend in found if trend.name in OURS) else 0


def trend_table(found: list[Trend]) -> str:
    """One line per process that lived, in Markdown: measures at one third and at the end."""
    lines = ["| process | resident MB | its own MB | file handles | threads | grew |", "|---|---|---|---|---|---|"]
    for at in range(0, len(found), 4):
        its = found[at : at + 4]
        sizes = [f"{one.first:.1f} -> {one.last:.1f}" for one in its]
        grown = [one.measure for one in its if not one.flat]
        verdict = ", ".join(grown) if grown else "flat"
        whose = its[0].name if its[0].name in OURS else f"{its[0].name} (Ray's own)"
        lines.append(" | ".join([f"| {whose}", *sizes, f"{verdict} |"]))
    return "\n".join(lines)
