"""Who works on a run: one process at a time, or one for each part of it.

Two would make every rollout twice, and each would take the other's shards away. The lock is the system's own, so that
it goes with its process, however that ends. Where a filesystem has no locks (object stores), nobody is kept out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator

from gym_ray.collect.part import Part
from gym_ray.collect.rundir import LOG, RunDir
from gym_ray.types.errors import UserError


@contextlib.contextmanager
def owned(run: RunDir, part: Part) -> Iterator[None]:
    """Own the run, or the part of it, during the block.

    Raises:
        UserError: somebody else does.
    """
    if not run.local:
        yield
        return
    with open(run.path(f"{LOG}/.owner-{part.number}-of-{part.parts}"), "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise UserError(f"{run.address}: {owner} works on it: wait for it, end it, or use a new run_dir") from None
        except OSError:
            pass  # A filesystem without locks.
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
