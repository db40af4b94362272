"""The Ray that a run uses: the cluster it is on, or a private local one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from gym_ray.types.errors import UserError

LOCAL_CPUS = 4
"""Ray CPUs of a local cluster at least: they only count actors, which mostly wait."""
LOCAL_STORE = 256 * 1024 * 1024
"""Bytes of object store of a local cluster: only plans and receipts go through it."""


@contextlib.contextmanager
def ray_session() -> Iterator[None]:
    """Connect to the running cluster (``RAY_ADDRESS``, or inside a Ray job), else start a local Ray.

    What this starts, it ends. A Ray that was already initialised is used and left alone.

    Raises:
        UserError: the machine is too busy to start a Ray.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING, "configure_logging": True}
    with _sigterm_kept():
        if os.environ.get("RAY_ADDRESS"):
            ray.init(**quiet)
        else:
            cpus = max(LOCAL_CPUS, os.cpu_count() or 1)
            _start_local(num_cpus=cpus, object_store_memory=LOCAL_STORE, include_dashboard=False, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself and exits at once; whoever handles it already (``Interrupts``) drains first."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _start_local(**options: Any) -> None:
    import ray

    # Serve kills a proxy that is not up within 5 s of a busy machine's time, and fails whoever waits for that one.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
    try:
        ray.init("local", **options)
    except Exception as error:
        # Ray gives its own processes 30 s, whatever it is told, and has no class for this error.
        if "timed out during startup" not in str(error):
            raise
        raise UserError("Ray did not come up within its 30 s: this machine is too busy now; try again later") from error
