"""Numbers seen one by one, kept in few bins: distributions of rewards, and what happened when.

Invariant: nothing is lost when bins get too many. Bins are as wide as a power of two and aligned to zero, so
doubling the width joins two of them exactly, and what a bin holds does not depend on the order of what was seen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

VALUES = 24
"""Up to so many different numbers each has a bin of its own."""
INTERVALS = 160
"""Bins of a time line."""
_NARROWEST = -3


@dataclass(slots=True)
class Distribution:
    """Counts of finite numbers. ``width``: of a bin; 0.0 while every value has its own."""

    counts: Counter[float] = field(default_factory=Counter)
    width: float = 0.0

    def add(self, value: float) -> None:
        """See one more."""
        self.counts[math.floor(value / self.width) if self.width else value] += 1
        while len(self.counts) > VALUES:
            self._widen()

    def _widen(self) -> None:
        width = self.width * 2
        if not width:
            spread = max(self.counts) - min(self.counts)
            width = 2.0 ** math.floor(math.log2(spread / VALUES))
        counts: Counter[float] = Counter()
        for key, count in self.counts.items():
            counts[math.floor((key * self.width if self.width else key) / width)] += count
        self.counts, self.width = counts, width

    def summary(self) -> dict[str, Any]:
        """``{width, bins: [[lowest value, count], ...]}``; empty bins between are left out."""
        return {"width": self.width, "bins": [[key * (self.width or 1), n] for key, n in sorted(self.counts.items())]}


@dataclass(slots=True)
class _Interval:
    """One bin of time. ``begun``, ``ended``: rollouts that came into the air and left it; ``entered``, ``left``: sums
    of seconds between that and the epoch of the line. ``finished``: those of them that have a record."""

    begun: int = 0
    ended: int = 0
    finished: int = 0
    tokens: int = 0
    entered: float = 0.0
    left: float = 0.0

    def join(self, other: _Interval) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Timeline:
    """Starts and ends of rollouts over time. ``epoch``: Unix time that seconds are counted from."""

    epoch: float | None = None
    power: int = _NARROWEST
    bins: dict[int, _Interval] = field(default_factory=dict)
    low: int = 0
    high: int = 0

    def add(self, started: float, finished: float, tokens: int) -> None:
        """See one rollout: Unix seconds, and sampled tokens. One without times is left out."""
        if not (0 < started <= finished < math.inf):
            return
        self._enter(started)
        its = self._leave(finished)
        its.finished, its.tokens = its.finished + 1, its.tokens + tokens
        self._fit()

    def add_unfinished(self, started: float, left: float | None) -> None:
        """See one that has no record. ``left``: when it was given up; None: it stays in flight to the line's end."""
        if not (0 < started <= (started if left is None else left) < math.inf):
            return
        self._enter(started)
        if left is not None:
            self._leave(left)
        self._fit()

    def _enter(self, moment: float) -> None:
        if self.epoch is None:
            self.epoch = math.floor(moment)
            self.low = self.high = self._place(moment - self.epoch)
        its = self._at(moment - self.epoch)
        its.begun, its.entered = its.begun + 1, its.entered + moment - self.epoch

    def _leave(self, moment: float) -> _Interval:
        assert self.epoch is not None
        its = self._at(moment - self.epoch)
        its.ended, its.left = its.ended + 1, its.left + moment - self.epoch
        return its

    def _fit(self) -> None:
        while self.high - self.low >= INTERVALS:
            self._widen()

    def _place(self, seconds: float) -> int:
        return math.floor(seconds / 2.0**self.power)

    def _at(self, seconds: float) -> _Interval:
        place = self._place(seconds)
        self.low, self.high = min(self.low, place), max(self.high, place)
        return self.bins.setdefault(place, _Interval())

    def _widen(self) -> None:
        joined: dict[int, _Interval] = {}
        for place, one in self.bins.items():
            joined.setdefault(place >> 1, _Interval()).join(one)
        self.bins, self.power, self.low, self.high = joined, self.power + 1, self.low >> 1, self.high >> 1

    def summary(self) -> dict[str, Any] | None:
        """``{start, width, finished, tokens, in_flight}``: Unix and plain seconds; per interval rollouts and sampled
        tokens per second, and rollouts in flight on average. None when nothing has times."""
        if self.epoch is None:
            return None
        width, running = 2.0**self.power, 0
        lines: dict[str, list[float]] = {"finished": [], "tokens": [], "in_flight": []}
        for place in range(self.low, self.high + 1):
            one, end = self.bins.get(place, _Interval()), (place + 1) * width
            inside = (end * one.begun - one.entered) - (end * one.ended - one.left)
            lines["in_flight"].append(max(0.0, running + inside / width))
            lines["finished"].append(one.finished / width)
            lines["tokens"].append(one.tokens / width)
            running += one.begun - one.ended
        round_to: Callable[[float], float] = lambda value: round(value, 4)  # noqa: E731
        return {
            "start": self.epoch + self.low * width,
            "width": width,
            **{name: list(map(round_to, values)) for name, values in lines.items()},
        }
