"""CPU and memory of a whole tree of processes, exact to a few clock ticks.

The benchmark's process makes itself the reaper of all its descendants, so that no daemon can leave the tree. A
thread looks into ``/proc`` every ``POLL_S`` and books what each process used since the last look. A process
that ends between two looks was reaped by somebody: what the ancestor's reaped time (``cutime``, ``cstime``)
grew beyond what had been booked for the ones that vanished is what nobody saw, and is booked too. So each
tick counts once; only a parent that ignores SIGCHLD (Ray's raylet) loses the last ``POLL_S`` of a child.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

POLL_S = 0.1
"""Seconds between two looks."""
SAMPLE_EVERY = 10
"""Looks between two samples of memory; labels are read again then, because Ray's workers rename themselves."""
TICK = 1.0 / os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
PR_SET_CHILD_SUBREAPER = 36

Key = tuple[int, int]
"""A pid and its start time in ticks: pids alone come again."""


class Reading(NamedTuple):
    """One look at one process. ``own`` and ``reaped``: CPU seconds. ``rss``: MiB."""

    key: Key
    parent: int
    zombie: bool
    own: float
    reaped: float
    rss: float


class Sample(NamedTuple):
    """Memory at one moment: ``at`` seconds since the meter began, MiB by label."""

    at: float
    rss: dict[str, float]


@dataclass
class Usage:
    """What a tree used. ``wall``: seconds. ``cpu``: CPU seconds by label. ``samples``: memory, each second."""

    wall: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    @property
    def total(self) -> float:
        """CPU seconds of all processes together."""
        return sum(self.cpu.values())

    def peak(self, label: str | None = None) -> float:
        """Highest resident memory in MiB, of one label or (None) of all together."""
        seen = (sum(one.rss.values()) if label is None else one.rss.get(label, 0.0) for one in self.samples)
        return max(seen, default=0.0)


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends. Raises OSError."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def read_process(pid: int) -> Reading:
    """One process (fields of proc(5)). Raises OSError when it is gone."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        text = file.read()
    part = text[text.rindex(b")") + 2 :].split()  # The command may hold spaces and brackets.
    own, reaped = (int(part[11]) + int(part[12])) * TICK, (int(part[13]) + int(part[14])) * TICK
    return Reading((pid, int(part[19])), int(part[1]), part[0] in b"ZX", own, reaped, int(part[21]) * PAGE_MB)


def read_command(pid: int) -> str:
    """The command line; ``""`` when the process is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def descendants(root: int, ignored: frozenset[int] = frozenset()) -> list[Reading]:
    """Everything below ``root``, without ``ignored`` pids and what is below them."""
    children: defaultdict[int, list[Reading]] = defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                reading = read_process(int(name))
                children[reading.parent].append(reading)
    found: list[Reading] = []
    todo = [root]
    while todo:
        below = [one for one in children[todo.pop()] if one.key[0] not in ignored]
        found += below
        todo += [one.key[0] for one in below]
    return found


@dataclass(slots=True)
class _Member:
    last: Reading
    label: str


class Meter:
    """Books what all descendants of this process use, but for ``ignored`` pids, while :meth:`running`.

    ``label``: names a process by its command line. What runs already is booked from then on.
    """

    def __init__(self, label: Callable[[str], str], ignored: frozenset[int] = frozenset()) -> None:
        self._label, self._ignored, self._root = label, ignored, os.getpid()
        self._members: dict[Key, _Member] = {}
        self._cpu: defaultdict[str, float] = defaultdict(float)
        self._credit: dict[int, float] = {}
        self._looks = 0
        self._ended = threading.Event()
        self._usage = Usage()

    @contextlib.contextmanager
    def running(self) -> Iterator[Usage]:
        """Meter during the block; what it yields is complete when the block has ended."""
        self._began = time.monotonic()
        self._root_reaped = read_process(self._root).reaped
        for reading in descendants(self._root, self._ignored):
            self._members[reading.key] = _Member(reading, self._label(read_command(reading.key[0])))
        thread = threading.Thread(target=self._poll, daemon=True)
        thread.start()
        try:
            yield self._usage
        finally:
            self._ended.set()
            thread.join()
            self._look()
            self._usage.wall = time.monotonic() - self._began
            self._usage.cpu = dict(self._cpu)

    def _poll(self) -> None:
        while not self._ended.wait(POLL_S):
            self._look()

    def _look(self) -> None:
        sampling = self._looks % SAMPLE_EVERY == 0
        self._looks += 1
        tree = descendants(self._root, self._ignored)
        root = read_process(self._root)
        grown = {self._root: root.reaped - self._root_reaped}
        self._root_reaped = root.reaped
        for reading in tree:
            grown[reading.key[0]] = self._book(reading, relabel=sampling)
        self._settle(grown, {reading.key for reading in tree})
        if sampling:
            self._sample()

    def _book(self, reading: Reading, relabel: bool) -> float:
        """Book a process's own time since the last look; returns by how much its reaped time grew."""
        member = self._members.get(reading.key)
        before = member.last if member is not None else reading._replace(own=0.0, reaped=0.0)
        if member is None:
            member = self._members[reading.key] = _Member(reading, self._label(read_command(reading.key[0])))
        elif relabel and not reading.zombie:
            member.label = self._label(read_command(reading.key[0]))
        member.last = reading
        self._cpu[member.label] += reading.own - before.own
        return reading.reaped - before.reaped

    def _settle(self, grown: dict[int, float], alive: set[Key]) -> None:
        """Book what living ancestors reaped beyond what was booked for the processes that vanished."""
        gone = {key[0]: self._members.pop(key) for key in list(self._members) if key not in alive}
        booked: defaultdict[int, float] = defaultdict(float)
        labels: dict[int, str] = {}
        for member in gone.values():
            heir = member.last.parent
            while heir not in grown and heir in gone:
                heir = gone[heir].last.parent
            heir = heir if heir in grown else self._root
            booked[heir] += member.last.own + member.last.reaped
            labels[heir] = member.label
        credit: dict[int, float] = {}
        for pid, growth in grown.items():
            # A parent may have been read just before it reaped: then the growth shows in the next look.
            unseen = growth - booked[pid] - self._credit.get(pid, 0.0)
            if unseen > 0:
                self._cpu[labels.get(pid, "short-lived")] += unseen
            elif booked[pid] > growth:
                credit[pid] = booked[pid] - growth
        self._credit = credit

    def _sample(self) -> None:
        rss: defaultdict[str, float] = defaultdict(float)
        for member in self._members.values():
            rss[member.label] += member.last.rss
        self._usage.samples.append(Sample(time.monotonic() - self._began, dict(rss)))


def reap_orphans(kept: frozenset[int]) -> None:
    """Let go of ended processes that fell to this one; ``kept``: children that somebody here waits for."""
    root = os.getpid()
    for reading in descendants(root, kept):
        if reading.zombie and reading.parent == root:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(reading.key[0], os.WNOHANG)
