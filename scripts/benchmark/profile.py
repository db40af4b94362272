"""``--profile NAME``: where one scenario's CPU goes, by process and, with py-spy, by function.

py-spy samples the agent workers (and, for Serve scenarios, the replicas) from outside while a large run goes
on; without it only the table by process is printed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from benchmark import cost
from benchmark.endpoint import Endpoint, endpoint
from benchmark.meter import descendants, read_command
from benchmark.report import process_table
from benchmark.runs import collect, label

WATCHED = ("agent worker", "model replica", "driver")
SHOWN = 40
RATE = 200
"""Samples per second."""


@dataclass
class _Sampler:
    """Attaches py-spy to every watched process as it appears."""

    folder: Path
    ended: threading.Event = field(default_factory=threading.Event)
    files: dict[int, tuple[str, Path]] = field(default_factory=dict)
    spies: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def watch(self, root: int) -> None:
        """Until ``ended``."""
        while not self.ended.wait(0.2):
            for reading in descendants(root):
                pid = reading.key[0]
                name = label(read_command(pid))
                if pid not in self.files and name in WATCHED:
                    self._attach(pid, name)

    def _attach(self, pid: int, name: str) -> None:
        file = self.folder / f"{pid}.txt"
        self.files[pid] = (name, file)
        options = ["--format", "raw", "--rate", str(RATE), "--nonblocking", "--duration", "3600"]
        command = [str(py_spy()), "record", "--pid", str(pid), "--output", str(file), *options]
        self.spies.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def py_spy() -> str | None:
    """Its path, beside this Python or on ``PATH``."""
    beside = Path(sys.executable).parent / "py-spy"
    return str(beside) if beside.exists() else shutil.which("py-spy")


def profile(name: str, console: Console) -> int:
    """Print both tables for the scenario ``name``."""
    scenario = cost.SCENARIOS[name]
    found = cost.measure(scenario, cost.QUICK, lambda line: print(line, file=sys.stderr, flush=True))
    console.print(process_table(f"{name}: by process", [(name, found)]))
    if py_spy() is None:
        console.print("by function: install py-spy to see it")
        return 0
    with TemporaryDirectory() as folder:
        sampler = _Sampler(Path(folder))
        if scenario.script is None:
            _sampled(scenario, sampler, None)
        else:
            with endpoint(scenario.script) as mock:
                _sampled(scenario, sampler, mock)
        for watched in WATCHED:
            files = [file for kind, file in sampler.files.values() if kind == watched and file.exists()]
            if files:
                _print_functions(watched, "".join(file.read_text() for file in files), console)
    return 0


def _sampled(scenario: cost.Scenario, sampler: _Sampler, mock: Endpoint | None) -> None:
    import os

    thread = threading.Thread(target=sampler.watch, args=(os.getpid(),), daemon=True)
    thread.start()
    try:
        collect(replace(scenario.job, rollouts=int(4 * cost.QUICK.large * scenario.scale)), mock)
    finally:
        sampler.ended.set()
        thread.join()
        for spy in sampler.spies:
            spy.wait(timeout=30)


def _print_functions(name: str, folded: str, console: Console) -> None:
    """``folded``: one ``frame;frame;frame count`` per line, as flame graphs read them."""
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            within[frame] += int(count)
    total = sum(own.values()) or 1
    console.print(f"\n[bold]{name}[/bold]: share of samples by function, itself and with what it calls")
    for frame, samples in own.most_common(SHOWN):
        console.print(f"  {samples / total:6.1%} {within[frame] / total:6.1%}  {frame}", highlight=False)
