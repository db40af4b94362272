"""The table and the JSON file: the same numbers twice."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmark.cost import Cost
from benchmark.elsewhere import Elsewhere
from benchmark.lag import Lag
from benchmark.load import Durable, InFlight, SlowVerifier
from benchmark.sandbox import Execution
from benchmark.utilisation import Utilisation

WIDTH = 118


@dataclass(frozen=True)
class Row:
    """One line of the table. ``goal``: what the project aims at, ``""`` where it aims at nothing."""

    section: str
    what: str
    value: str
    goal: str = ""
    note: str = ""


@dataclass
class Report:
    """Collects rows and the JSON tree while scenarios end."""

    rows: list[Row] = field(default_factory=list)
    tree: dict[str, Any] = field(default_factory=dict)
    floor_ms: float | None = None

    def cost(self, name: str, title: str, cost: Cost, goal: float | None = None) -> None:
        """CPU per rollout of one scenario."""
        for key, value in (
            ("cpu_ms_per_rollout", round(cost.cpu_ms, 4)),
            ("cpu_ms_spread", [round(value, 4) for value in cost.spread]),
            ("cpu_ms_by_process", {name: round(value, 4) for name, value in cost.by_process.items()}),
            ("rollouts_per_s", round(cost.per_s, 1)),
            ("mock_cpu_ms_per_rollout", round(cost.mock_ms, 4)),
            ("peak_rss_mib", {name: round(value) for name, value in cost.rss_mib.items()}),
        ):
            self.tree.setdefault(key, {})[name] = value
        if name == "floor":
            self.floor_ms = cost.cpu_ms
        notes = [f"{cost.per_s:,.0f}/s"]
        if self.floor_ms and name != "floor":
            ratio = cost.cpu_ms / self.floor_ms
            self.tree.setdefault("ratio_to_floor", {})[name] = round(ratio, 2)
            notes.insert(0, f"{ratio:.1f} x floor")
        aim = f"{goal:g}" if goal else ""
        self.rows.append(Row("CPU-ms per rollout", title, f"{cost.cpu_ms:.3f}", aim, ", ".join(notes)))

    def in_flight(self, name: str, found: InFlight, goal: bool = False) -> None:
        """Throughput, memory and stalls with many rollouts in flight."""
        self.tree.setdefault("in_flight", {})[name] = asdict(found)
        section = f"{found.in_flight:,} in flight, {name.replace('_', ' ')}"
        rate = f"{found.rate_per_s:,.0f}/s, {found.cpu_cores:.2f} cores, {found.ramp_s:.1f} s to fill"
        aim = "90%" if goal else ""
        self.rows.append(Row(section, "share of the ideal throughput, ends included", f"{found.share:.1%}", aim, rate))
        self.rows.append(Row(section, "the same while there is work to begin", f"{found.kept:.1%}", aim))
        low, high = min(found.driver_rss_mib, default=0.0), max(found.driver_rss_mib, default=0.0)
        steady = f"+{high - low:.1f} MiB"
        self.rows.append(Row(section, "driver memory from a third of the run on", steady, "flat", f"at {high:.0f} MiB"))
        self._lag(section, found.lag, "100 ms" if goal else "")

    def _lag(self, section: str, lag: Lag | None, goal: str) -> None:
        if lag is None:
            return
        note = f"{lag.cpu_ms:.0f} ms of it its own CPU time"
        self.rows.append(Row(section, "worst event-loop stall of an agent worker", f"{lag.wall_ms:.0f} ms", goal, note))

    def memory(self, mib: float) -> None:
        """Memory per 1,000 rollouts in flight."""
        self.tree["worker_mib_per_1000_in_flight"] = round(mib, 2)
        self.rows.append(Row("memory", "agent worker, per 1,000 in flight", f"{mib:.1f} MiB"))

    def sandbox(self, found: dict[str, Execution]) -> None:
        """Trivial executions behind the wall, and their ratio to a bare interpreter's."""
        bare = found["bare"]
        for name, one in found.items():
            ratio = one.cpu_ms / bare.cpu_ms
            self.tree.setdefault("sandbox", {})[name] = asdict(one) | {"cpu_ratio_to_bare": round(ratio, 3)}
            note = f"{ratio:.2f} x bare, {one.wait_ms:.1f} ms each, {one.per_s:,.0f}/s one at a time"
            self.rows.append(Row("CPU-ms per trivial execution", one.title, f"{one.cpu_ms:.2f}", "", note))

    def elsewhere(self, found: list[Elsewhere]) -> None:
        """Agents that are not ours, and their ratio to our own loop."""
        for one in found:
            self.tree.setdefault("agent_elsewhere", {})[str(one.turns)] = asdict(one)
            what = f"agent=http, {one.turns} model calls, {one.turns - 1} tool calls, our side"
            self.rows.append(Row("CPU-ms per rollout", what, f"{one.http_ms:.2f}", "", f"tool loop: {one.loop_ms:.2f}"))

    def slow_verifier(self, found: SlowVerifier) -> None:
        """A verifier that computes for 5 ms."""
        self.tree["slow_verifier"] = asdict(found)
        section = "5 ms cpu-bound verifier"
        self.rows.append(
            Row(section, "rollouts per second, one verify worker", f"{found.rate_per_s:.0f}", "", "ideal 200")
        )
        self.rows.append(Row(section, "CPU-ms per rollout beyond the 5", f"{found.overhead_cpu_ms:.2f}"))
        self._lag(section, found.lag, "100 ms")

    def durable(self, found: Durable) -> None:
        """From the model's last reply to the journal file."""
        self.tree["finish_to_durable"] = asdict(found)
        spread = f"median {found.p50_s:.2f} s, p99 {found.p99_s:.2f} s"
        self.rows.append(
            Row("durability", "last reply to record in the journal, worst", f"{found.worst_s:.2f} s", "1 s", spread)
        )

    def utilisation(self, found: Utilisation) -> None:
        """Tokens per second of a collection and of the bare engine."""
        turns = "1 turn" if found.turns == 1 else f"{found.turns} turns"
        what = f"{turns}, {found.in_flight} in flight"
        self.tree.setdefault("utilisation", {})[what] = {**asdict(found), "ratio": round(found.ratio, 4)}
        ours, bare = found.collect[-1], found.bare[-1]
        note = f"{ours.tokens_per_s:,.0f} of {bare.tokens_per_s:,.0f}/s; cached {ours.cached:.0%} and {bare.cached:.0%}"
        self.rows.append(Row("tokens/s, as a share of the bare engine's", what, f"{found.ratio:.1%}", "97%", note))

    def startup(self, name: str, title: str, seconds: float, goal: str) -> None:
        """A wait before anything happens."""
        self.tree.setdefault("startup_s", {})[name] = round(seconds, 3)
        self.rows.append(Row("start", title, f"{seconds:.2f} s", goal))

    def print(self, console: Console) -> None:
        """The table."""
        table = Table(title="gym_ray overhead", title_justify="left", caption=caption(), caption_justify="left")
        for title in ("", "measured", "goal", ""):
            table.add_column(title, justify="right" if title in ("measured", "goal") else "left")
        section = None
        for row in self.rows:
            if row.section != section:
                table.add_section()
                table.add_row(f"[bold]{row.section}[/bold]")
                section = row.section
            table.add_row(f"  {row.what}", row.value, row.goal, row.note)
        console.print(table)


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "python": platform.python_version(),
        **{name: version(name) for name in ("ray", "aiohttp", "orjson", "uvloop", "pyarrow")},
    }


def caption() -> str:
    """One line about the machine."""
    its = machine()
    return f"{its['cpus']} cores, {its['memory_gib']} GiB, Python {its['python']}, Ray {its['ray']}"


def process_table(title: str, costs: Sequence[tuple[str, Cost]]) -> Table:
    """Where the CPU goes, by process."""
    table = Table(title=title, title_justify="left")
    table.add_column("CPU-ms per rollout")
    names = list(dict.fromkeys(name for _, cost in costs for name in cost.by_process))
    for scenario, _ in costs:
        table.add_column(scenario, justify="right")
    for name in names:
        table.add_row(name, *(f"{cost.by_process.get(name, 0.0):.3f}" for _, cost in costs))
    table.add_section()
    table.add_row("sum", *(f"{cost.cpu_ms:.3f}" for _, cost in costs))
    return table
