"""Finding and killing real processes of a run, by pid and only below a process we started."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


def _stat(pid: int) -> tuple[int, str] | None:
    """Parent pid and command line of a live process."""
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (OSError, ValueError, IndexError):
        return None
    return parent, command


def descendants(root: int) -> dict[int, str]:
    """Every live process below ``root``: pid -> command line."""
    table = {int(name): stat for name in os.listdir("/proc") if name.isdigit() and (stat := _stat(int(name)))}
    found: dict[int, str] = {}
    frontier = {root}
    while frontier:
        frontier = {pid for pid, (parent, _) in table.items() if parent in frontier and pid not in found}
        found.update({pid: table[pid][1] for pid in frontier})
    return found


def named(root: int, *words: str) -> list[int]:
    """Pids below ``root`` whose command line holds one of ``words``, oldest first."""
    return sorted(pid for pid, command in descendants(root).items() if any(word in command for word in words))


def kill(pid: int) -> None:
    """SIGKILL, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_tree(root: int) -> None:
    """SIGKILL ``root`` and everything below it."""
    below = descendants(root)
    for pid in [root, *below]:
        kill(pid)


def wait_for(check: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Poll until ``check()``; AssertionError naming ``what`` after ``timeout_s`` seconds."""
    due = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < due, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.05)
