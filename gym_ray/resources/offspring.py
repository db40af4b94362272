"""Child processes: how they die with their parent, and how they died, in words."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have this process killed when its ``parent`` ends, even inside a loop that never ends.

    Linux counts the thread that made the process as its parent: make it on one that lives as long.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def how_it_ended(code: int) -> str:
    """A process's return code in words."""
    if code >= 0:
        return f"exited with code {code}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-code).name}{hint}"
