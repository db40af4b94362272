"""Keeps the terminal for the run's own words.

Ray, its C++ core and vLLM write to the process's standard error as they please, past every logging setting.
While a collection runs that goes to ``log/driver.log`` of the run; the run itself speaks through the stream
that :func:`quiet` gives. What raises through is shown as ever: standard error is back by then.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TextIO

from gym_ray.collect.rundir import LOG, RunDir

LOG_FILE = f"{LOG}/driver.log"


@contextlib.contextmanager
def quiet(run: RunDir) -> Iterator[TextIO]:
    """Send standard error to the run's log inside this block; yields what standard error was.

    A run that is not on a local filesystem logs to a file of its own in the temporary directory.
    """
    path = run.path(LOG_FILE) if run.local else tempfile.mkstemp(prefix="gym-ray-", suffix=".log")[1]
    sys.stderr.flush()
    terminal = os.dup(2)
    with open(path, "ab") as log:
        os.dup2(log.fileno(), 2)
    try:
        with os.fdopen(os.dup(terminal), "w", buffering=1) as stream:
            yield stream
    finally:
        with contextlib.suppress(OSError):  # The log's disk may be full.
            sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)
