"""``scripts/bench [--quick] [--json FILE] [--only NAME] [--profile NAME]``: the overhead benchmark."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmark import cost, elsewhere, load, sandbox, startup, utilisation
from benchmark.isolation import isolate
from benchmark.meter import adopt_orphans
from benchmark.mock import Script
from benchmark.profile import profile
from benchmark.report import Report, machine, process_table

GOALS = {"remote_single_turn": 1.0, "serve_single_turn": 1.5, "remote_three_turn": 3.0}
"""CPU-ms per rollout that the project aims at."""
QUICK = ("floor", *GOALS, "in_flight", "startup")
"""What ``--quick`` covers."""


class Bench:
    """One benchmark: what was asked for, and the report that fills up."""

    def __init__(self, quick: bool) -> None:
        self.quick, self.size = quick, cost.QUICK if quick else cost.FULL
        self.report, self.costs = Report(), list[tuple[str, cost.Cost]]()
        self._began = time.monotonic()
        self.parts: dict[str, Callable[[], None]] = {
            "floor": self.floor,
            **{name: self._cost_of(name) for name in cost.SCENARIOS},
            "in_flight": self.in_flight,
            "in_flight_log_normal": self.in_flight_log_normal,
            "slow_verifier": self.slow_verifier,
            "durable": self.durable,
            "startup": self.startup,
            "sandbox": self.sandbox,
            "agent_elsewhere": self.agent_elsewhere,
            "utilisation": self.utilisation,
        }

    def say(self, line: str) -> None:
        """A progress line."""
        print(f"[{time.monotonic() - self._began:5.0f} s] {line}", file=sys.stderr, flush=True)

    def run(self, names: list[str]) -> bool:
        """Run parts; one that fails is told and the rest goes on. Returns whether all ran."""
        failed: dict[str, str] = {}
        for name in names:
            self.say(name)
            try:
                self.parts[name]()
            except Exception as error:
                failed[name] = str(error)
                self.say(f"{name} FAILED: {error}")
        if failed:
            self.report.tree["failed"] = failed
        return not failed

    def floor(self) -> None:
        """The bare client."""
        self._add("floor", "floor: a bare aiohttp + orjson client", cost.measure_floor(self.size, self._note))

    def _cost_of(self, name: str) -> Callable[[], None]:
        scenario = cost.SCENARIOS[name]
        return lambda: self._add(name, scenario.title, cost.measure(scenario, self.size, self._note))

    def _add(self, name: str, title: str, found: cost.Cost) -> None:
        self.costs.append((name, found))
        self.report.cost(name, title, found, GOALS.get(name))

    def in_flight(self) -> None:
        """2,000 rollouts in flight at 5 s, and fewer, to see what each costs in memory."""
        waves = 5 if self.quick else 10
        high = load.in_flight(2000, waves, Script(latency=5.0), self._note)
        self.report.in_flight("5_s", high, goal=True)
        if not self.quick:
            low = load.in_flight(500, waves, Script(latency=5.0), self._note)
            self.report.memory(load.memory_per_1000(low, high))

    def in_flight_log_normal(self) -> None:
        """The same with a long tail."""
        found = load.in_flight(2000, 10, Script(latency=2.0, sigma=0.75), self._note)
        self.report.in_flight("log-normal_latency", found)

    def slow_verifier(self) -> None:
        """A verifier that computes."""
        self.report.slow_verifier(load.slow_verifier(2048, self._note))

    def durable(self) -> None:
        """From finish to durable."""
        self.report.durable(load.finish_to_durable(1000, self._note))

    def utilisation(self) -> None:
        """The embedded policy under a collection, and by itself."""
        for turns in (1, 3):
            for in_flight in (64, 256):
                self.report.utilisation(utilisation.measure(in_flight, turns, 1 if self.quick else 2, self._note))

    def startup(self) -> None:
        """Imports, help, environment actors."""
        self.report.startup("import", "import gym_ray", startup.import_s(), "0.5 s")
        self.report.startup("help", "gym-ray --help", startup.help_s(), "0.5 s")
        seconds = startup.actor_to_first_seed_s(1 if self.quick else 3)
        self.report.startup("actor_to_first_seed", "environment actor to first session, Ray up", seconds, "1 s")

    def sandbox(self) -> None:
        """Trivial executions behind the wall."""
        self.report.sandbox(sandbox.measure(self.quick))

    def agent_elsewhere(self) -> None:
        """Our side of agents that are not ours."""
        self.report.elsewhere(elsewhere.measure(self.quick))

    def _note(self, line: str) -> None:
        self.say(f"  {line}")


def main() -> int:
    """Run what the command line asks for; 0 when all of it ran."""
    names = list(Bench(quick=True).parts)
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"smaller runs of {', '.join(QUICK)}: under 5 minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=f"some of: {', '.join(names)}")
    parser.add_argument("--profile", metavar="NAME", choices=list(cost.SCENARIOS), help="where one scenario's CPU goes")
    arguments = parser.parse_args()
    isolate()
    adopt_orphans()
    # Process 1 of a namespace ignores what it does not handle; this way `finally` blocks clean up as well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    console = Console(width=118 if not sys.stdout.isatty() else None)
    if arguments.profile:
        return profile(arguments.profile, console)
    bench = Bench(arguments.quick)
    complete = bench.run(arguments.only or (list(QUICK) if arguments.quick else names))
    bench.report.print(console)
    console.print(process_table("where the CPU goes", [one for one in bench.costs if one[0] in GOALS]))
    if arguments.json:
        tree = {"machine": machine(), "quick": arguments.quick, **bench.report.tree}
        arguments.json.write_text(json.dumps(tree, indent=2) + "\n")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
