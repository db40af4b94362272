"""What the page of a run is told, kept up to date in the background: state, overview, lists, single rollouts.

Invariants: one thread at a time reads the run (a lock); an overview of a run in progress is made anew when there is
more, after a pause ten times as long as it took, so that watching never costs more than a tenth of a CPU for long.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from gym_ray.collect.rundir import MANIFEST, RunDir
from gym_ray.runs.groups import journaled_groups, read_groups
from gym_ray.runs.profile import Thresholds
from gym_ray.runs.read import RunRecord, State, read_run
from gym_ray.runs.report.detail import detail_of
from gym_ray.runs.report.overview import overview
from gym_ray.runs.report.shards import Shards
from gym_ray.runs.report.texts import TokenTexts
from gym_ray.runs.view.query import Filter, Pages
from gym_ray.runs.view.tail import Tail
from gym_ray.types.errors import UserError

Json = dict[str, Any]
LOOK_S, REST = 1.0, 10.0
"""Seconds between two looks for more; pause after an overview, in its own durations."""
CHARACTERS, TOKENS = 200_000, 50_000
"""Longest text and most tokens of one rollout that are sent."""


class Desk:
    """Answers of one run. :meth:`start` begins to follow it; :meth:`close` ends that."""

    def __init__(self, address: str, texts: TokenTexts, thresholds: Thresholds | None = None) -> None:
        self._run, self._texts, self._thresholds = RunDir.open(address), texts, thresholds
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._made: Any = None
        self._overview: Json | None = None
        self._counted = self._summarised = 0
        self._error = ""
        self._open()

    def _open(self) -> None:
        """Read from shards where there are any, else from the journal."""
        self.record: RunRecord = read_run(self._run.address)
        self._made = self.record.manifest.get("made") if self.record.manifest else None
        finished = bool(self.record.manifest)
        self._source: Shards | Tail = Shards(self._run) if finished else Tail(self._run)
        if isinstance(self._source, Tail):
            self._source.refresh()
        self._pages, self._summarised = Pages(self._source), -1

    def start(self) -> None:
        """Follow the run until :meth:`close`."""
        for work in (self._follow, self._summarise):
            threading.Thread(target=work, daemon=True, name=f"view-{work.__name__}").start()

    def close(self) -> None:
        """End the background threads, within a second."""
        self._stop.set()

    def _follow(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                with self._lock:
                    self._look()
                self._error = ""
            except (UserError, OSError) as error:
                self._error = str(error)

    def _look(self) -> None:
        manifest = self._run.read_json(MANIFEST) if self._run.exists(MANIFEST) else None
        if (manifest or {}).get("made") != self._made:
            self._open()
        elif isinstance(self._source, Tail):
            self._source.refresh()

    def _summarise(self) -> None:
        """Make an overview whenever there is more than the last one had."""
        while not self._stop.is_set():
            size, began = len(self._source.index), time.monotonic()
            if size != self._summarised:
                try:
                    self._count()
                except (UserError, OSError) as error:
                    self._error = str(error)
                self._summarised = size
            self._stop.wait(max(LOOK_S, REST * (time.monotonic() - began) if self._is_live else 0.0))

    @property
    def _is_live(self) -> bool:
        return isinstance(self._source, Tail)

    def _count(self) -> None:
        record, address = read_run(self._run.address), self._run.address
        groups = journaled_groups(self._run) if self._is_live else read_groups(address, prompts=False)
        self._overview = overview(record, groups, self._thresholds, self._seen)
        self.record = record

    def _seen(self, count: int) -> None:
        self._counted = count
        if self._stop.is_set():
            raise UserError("closed")

    def status(self) -> Json:
        """What changes from second to second. ``counted``: rollouts that the overview being made has seen."""
        source = self._source
        return {
            "run": self._run.address,
            "state": str(self.record.state),
            "live": self.record.state in (State.UNFINISHED, State.PLANNED),
            "expected": self.record.expected,
            "found": len(source.index),
            "in_flight": source.in_flight if isinstance(source, Tail) else None,
            "counted": self._counted,
            "summarised": self._summarised,
            "error": self._error,
            "environments": source.index.environments.texts,
            "failures": source.index.failures.texts[1:],
        }

    def overview(self) -> Json | None:
        """The last overview, None until there is one."""
        return self._overview

    def page(self, wanted: Filter, offset: int, limit: int) -> Json:
        """See :meth:`Pages.page`."""
        with self._lock:
            return self._pages.page(wanted, offset, limit)

    def search(self, wanted: Filter, text: str, begin: int, limit: int) -> Json:
        """See :meth:`Pages.search`."""
        with self._lock:
            return self._pages.search(wanted, text, begin, limit)

    def detail(self, task: int, index: int) -> Json | None:
        """One rollout, None when the run has none of that name."""
        with self._lock:
            position = self._source.index.find(task, index)
            if position is None:
                return None
            return detail_of(self._source.read(position), self._texts, CHARACTERS, TOKENS)
