"""The live display of a collection: a panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gym_ray.collect.tally import Tally

WINDOW_S = 30.0
"""Rates are means over this many seconds."""
LINE_S = 10.0
"""Seconds between two plain lines when the output is no terminal."""


class Rates:
    """Rollouts and tokens per second over the last ``WINDOW_S`` seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque()

    def update(self, now: float, finished: int, tokens: int) -> tuple[float, float]:
        """Add one look; returns (rollouts/s, sampled tokens/s)."""
        self._seen.append((now, finished, tokens))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        since, rollouts, sampled = self._seen[0]
        elapsed = now - since
        return ((finished - rollouts) / elapsed, (tokens - sampled) / elapsed) if elapsed > 0 else (0.0, 0.0)


class Progress:
    """Context manager; call :meth:`show` about twice a second with the current totals."""

    def __init__(self, total: int, known: int, console: Console) -> None:
        """``total``: rollouts of the whole run; ``known``: of these, finished before this attempt."""
        self._total, self._known = total, known
        self._console = console
        self._rates = Rates()
        self._began = time.monotonic()
        self._last_line = 0.0
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """Print one line above the display."""
        self._console.print(line, highlight=False)

    def show(self, tally: Tally, *, last: bool = False) -> None:
        """Draw ``tally``; as a plain line at most every ``LINE_S`` seconds (``last``: now)."""
        now = time.monotonic()
        rates = self._rates.update(now, tally.finished, tally.completion_tokens)
        if self._live is not None:
            self._live.update(self._panel(tally, rates))
        elif last or now - self._last_line >= LINE_S:
            self._last_line = now
            self._console.print(self._line(tally, rates), highlight=False, soft_wrap=True)

    def _eta(self, left: int, rate: float) -> str:
        if left <= 0:
            return "0:00"
        return _clock(left / rate) if rate > 0 else "-"

    def _summary(self, tally: Tally, rates: tuple[float, float]) -> str:
        done = self._known + tally.finished
        left, elapsed = self._total - done, _clock(time.monotonic() - self._began)
        if left and not (tally.finished or tally.in_flight):
            return f"{done:,}/{self._total:,} rollouts · agent workers are starting · {elapsed}"
        return (
            f"{done:,}/{self._total:,} rollouts · {rates[0]:,.1f}/s · {rates[1]:,.0f} tok/s · "
            f"{tally.in_flight:,} in flight · {elapsed} · "
            f"ETA {self._eta(left, rates[0])}"
        )

    def _line(self, tally: Tally, rates: tuple[float, float]) -> str:
        parts = [self._summary(tally, rates)]
        for name, counts in sorted(tally.environments.items()):
            mean = "-" if counts.mean_reward is None else f"{counts.mean_reward:.3f}"
            trouble = f" ({counts.masked} masked, {counts.failed} failed)" if counts.masked or counts.failed else ""
            parts.append(f"{name} {mean}{trouble}")
        return " | ".join(parts)

    def _panel(self, tally: Tally, rates: tuple[float, float]) -> Group:
        done = self._known + tally.finished
        table = Table(box=None, padding=(0, 2), header_style="dim")
        table.add_column("environment")
        for title in ("finished", "mean reward", "masked", "failed"):
            table.add_column(title, justify="right")
        for name, counts in sorted(tally.environments.items()):
            mean = "-" if counts.mean_reward is None else f"{counts.mean_reward:.3f}"
            failed = Text(f"{counts.failed:,}", style="red" if counts.failed else "")
            table.add_row(name, f"{counts.finished:,}", mean, f"{counts.masked:,}", failed)
        bar = ProgressBar(total=max(1, self._total), completed=done, width=60)
        return Group(Text(self._summary(tally, rates)), bar, table)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
