"""What long-lived processes hold: memory, file handles, threads; and whether that grows."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

MB = 1024.0
MEASURES = ("rss_mb", "own_mb", "handles", "threads")
GROWTH, LEAST_MB = 0.03, 3.0
"""Growth of memory that still counts as flat: a share of it, and so much at least."""
MORE_HANDLES = 3.0
"""Growth of the peak of handles or threads that still counts as flat."""


@dataclass(frozen=True)
class Sample:
    """One look at one process. ``at``: seconds since the soak began. ``rss_mb``: resident memory; ``own_mb``: without
    what is shared with others."""

    at: float
    name: str
    pid: int
    rss_mb: float
    own_mb: float
    handles: int
    threads: int

    def line(self) -> str:
        """As CSV."""
        sizes = f"{self.rss_mb:.1f},{self.own_mb:.1f},{self.handles},{self.threads}"
        return f"{self.at:.0f},{self.name},{self.pid},{sizes}"


HEADER = "seconds,process,pid,rss_mb,own_mb,handles,threads"


def look(at: float, name: str, pid: int) -> Sample | None:
    """What ``pid`` holds now, None when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        handles = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    told = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    if "VmRSS" not in told:
        return None
    rss, own = (int(told[key][0]) / MB for key in ("VmRSS", "RssAnon"))
    return Sample(at, name, pid, rss, own, handles, int(told["Threads"][0]))


@dataclass(frozen=True)
class Trend:
    """How one measure of one process went over the last two thirds. Memory: ``first`` and ``last`` lie on the line of
    least squares. Handles and threads follow who lives at the moment, so there it is the peak of the middle third, and
    that of the last."""

    name: str
    measure: str
    first: float
    last: float

    @property
    def flat(self) -> bool:
        """Whether it did not grow."""
        slack = max(LEAST_MB, GROWTH * self.first) if self.measure.endswith("_mb") else MORE_HANDLES
        return self.last - self.first <= slack


def trends(samples: list[Sample], ends: float) -> list[Trend]:
    """Of every process that was there from the first third to the end (``ends``, seconds)."""
    lives: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        lives[sample.name, sample.pid].append(sample)
    found = []
    for (name, _), life in sorted(lives.items()):
        late = [sample for sample in life if sample.at >= ends / 3]
        if life[0].at <= ends / 3 and len(late) > 2 and late[-1].at > 0.95 * ends:
            found += [_trend(name, measure, late, 2 * ends / 3) for measure in MEASURES]
    return found


def _trend(name: str, measure: str, samples: list[Sample], half: float) -> Trend:
    times, values = [one.at for one in samples], [float(getattr(one, measure)) for one in samples]
    if not measure.endswith("_mb"):
        thirds = ([value for at, value in zip(times, values, strict=True) if (at >= half) == late] for late in (0, 1))
        return Trend(name, measure, *map(max, thirds))
    middle, level = mean(times), mean(values)
    spread = sum((at - middle) ** 2 for at in times)
    slope = sum((at - middle) * (value - level) for at, value in zip(times, values, strict=True)) / spread
    return Trend(name, measure, level + slope * (times[0] - middle), level + slope * (times[-1] - middle))
