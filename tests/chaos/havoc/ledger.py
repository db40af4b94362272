"""What was durable when, and what became of it.

At every kill the journal is read: whatever has a final record by then is durable, and must be in the end what it was,
record and shard line alike. Times come from the records themselves, so reading them late changes nothing.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from gym_ray.collect.journal.frames import INDEX_BITS
from gym_ray.collect.journal.index import JournalIndex, scan
from gym_ray.collect.journal.record import decode
from gym_ray.collect.output.rows import failure_row, make_row, to_jsonl
from gym_ray.collect.rundir import RunDir
from gym_ray.types.outcome import Outcome
from tests.support.processes import wait_for

BACK = 0.8
"""Share of the usual throughput at which a run is back."""
WINDOW_S = 2.0
"""Over which throughput is taken."""


@dataclass(frozen=True)
class Kill:
    """One kill. ``at``: seconds since the epoch. ``durable``: rollouts that had their record by then."""

    kind: str
    at: float
    durable: int


@dataclass
class Recovery:
    """How one kill was survived. ``next_s``: until the next rollout finished; ``back_s``: until throughput was back
    (None: the run ended, or the next kill came, before)."""

    kind: str
    next_s: float | None
    back_s: float | None


@dataclass
class Ledger:
    """The books of one run. ``kept``: key -> record of everything that was ever seen durable."""

    run: Path
    kills: list[Kill] = field(default_factory=list)
    kept: dict[int, bytes] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)

    def note(self) -> int:
        """Enter what is durable now; returns how many rollouts that is."""
        index = self.index()
        if index is None:
            return 0
        for key in map(int, index.done.keys):
            if key not in self.kept:
                self.kept[key] = _payload(index, key)
        self.changed |= self.kept.keys() - set(map(int, index.done.keys))
        return len(index.done)

    def killed(self, kind: str, at: float, durable: int) -> None:
        """Enter a kill."""
        self.kills.append(Kill(kind, at, durable))

    def index(self) -> JournalIndex | None:
        """The journal now, None before there is one."""
        return scan(RunDir(str(self.run))) if (self.run / "journal").is_dir() else None

    def thrown_away(self) -> set[int]:
        """Keys that were durable once and in the end have no record, another one, or another line in the shards."""
        index = self.index()
        assert index is not None
        lines = {*_lines(self.run, "rollouts"), *_lines(self.run, "failures")}
        away = set(self.changed)
        for key, record in self.kept.items():
            there = index.done.find(key) is not None and _payload(index, key) == record
            if not there or _line(record) not in lines:
                away.add(key)
        return away

    def remade(self) -> tuple[int, int]:
        """Rollouts begun and not ended by a worker that died, and attempts after the first: both cost time only."""
        index = self.index()
        assert index is not None
        return len(index.starts), sum(decode(_payload(index, int(key))).attempt for key in index.done.keys)

    def doubled_records(self) -> int:
        """Second records of a key in the journal: work done twice. Shards never have them."""
        index = self.index()
        assert index is not None
        return index.duplicates

    def finish_times(self) -> list[float]:
        """When each rollout finished, in order."""
        index = self.index()
        return sorted(decode(_payload(index, int(key))).finished for key in index.done.keys) if index else []

    def recoveries(self) -> tuple[float, list[Recovery]]:
        """Usual throughput in rollouts a second, and how each kill was survived."""
        times = self.finish_times()
        usual = _usual(times)
        ends = [kill.at for kill in self.kills[1:]] + [float("inf")]
        found = []
        for kill, end in zip(self.kills, ends, strict=True):
            after = bisect_right(times, kill.at)
            next_s = times[after] - kill.at if after < len(times) else None
            found.append(Recovery(kill.kind, next_s, back_s(times, kill.at, end, BACK * usual)))
        return usual, found


def wait_until_more(ledger: Ledger, than: int, timeout_s: float) -> None:
    """Until more than so many rollouts are durable."""
    wait_for(lambda: (index := ledger.index()) is not None and len(index.done) > than, timeout_s, "another rollout")


def _usual(times: list[float]) -> float:
    """Median rate over windows in which anything finished."""
    if not times:
        return 0.0
    counts: dict[int, int] = {}
    for time in times:
        counts[int(time / WINDOW_S)] = counts.get(int(time / WINDOW_S), 0) + 1
    return median(counts.values()) / WINDOW_S


def back_s(times: list[float], at: float, end: float, rate: float) -> float | None:
    """Seconds from ``at`` until the first window with ``rate`` a second; None if it ends after ``end``."""
    needed = max(1, round(rate * WINDOW_S))
    for first in range(bisect_right(times, at), len(times) - needed + 1):
        last = times[first + needed - 1]
        if last > end:
            return None
        if last - times[first] <= WINDOW_S:
            return times[first] - at
    return None


def _payload(index: JournalIndex, key: int) -> bytes:
    payload = index.payload(key >> INDEX_BITS, key & (1 << INDEX_BITS) - 1)
    assert payload is not None
    return payload


def _line(record: bytes) -> str:
    """What the shards must say of a record."""
    rollout = decode(record)
    line = failure_row(rollout) if rollout.outcome is Outcome.FAILED else to_jsonl(make_row(rollout))
    return _canonical(line.decode())


def _lines(run: Path, folder: str) -> set[str]:
    return {
        _canonical(line)
        for part in sorted(run.joinpath(folder).glob("part-*.jsonl"))
        for line in part.read_text().splitlines()
    }


def _canonical(line: str) -> str:
    return json.dumps(json.loads(line), sort_keys=True)
