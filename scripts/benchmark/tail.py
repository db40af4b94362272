"""Watches a run's journal grow, as a reader in another process sees it: when was each rollout durable?"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from gym_ray.collect.journal.frames import FRAME_BYTES, Kind, walk

LOOK_S = 0.01


class JournalTail:
    """Copies the journal of ``run_dir`` while it grows, from a thread of its own; a context manager."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / "journal"
        self._content: dict[Path, bytearray] = {}
        self._grown: dict[Path, list[tuple[int, float]]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> JournalTail:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def durable(self) -> dict[int, float]:
        """Unix second at which the final record of each task number was in the file."""
        found: dict[int, float] = {}
        for path, content in self._content.items():
            headers, offsets, _ = walk(memoryview(content))
            steps = iter(self._grown[path])
            size, when = next(steps)
            for header, offset in zip(headers, offsets, strict=True):
                while int(offset) + FRAME_BYTES + int(header["length"]) > size:
                    size, when = next(steps)
                if header["kind"] == Kind.ROLLOUT:
                    found.setdefault(int(header["task"]), when)
        return found

    def _follow(self) -> None:
        while not self._ended.wait(LOOK_S):
            for path in self._folder.glob("*.seg") if self._folder.is_dir() else ():
                content = self._content.setdefault(path, bytearray())
                try:
                    with path.open("rb") as file:
                        file.seek(len(content))
                        fresh = file.read()
                except FileNotFoundError:
                    continue
                if fresh:
                    content += fresh
                    self._grown.setdefault(path, []).append((len(content), time.time()))
