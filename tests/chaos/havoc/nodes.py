"""A Ray of several nodes on one machine, each a raylet with its own workers, any of which can be lost.

The head has no work: it carries what a cluster keeps alive by other means (Ray's own services, Serve's controller,
the driver). A node is killed as a machine is lost: its raylet and all its workers at once, without a word.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.support.processes import descendants, kill

CPUS = 2
QUIET = {"include_dashboard": False, "object_store_memory": 100_000_000}


class Nodes:
    """The cluster. ``workers``: its nodes but for the head, oldest first; :meth:`add` wants the main thread."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **QUIET})
        self.workers: list[Any] = []
        for _ in range(count):
            self.add()

    @property
    def address(self) -> str:
        """What a driver sets ``RAY_ADDRESS`` to."""
        return str(self._cluster.address)

    @property
    def head(self) -> Any:
        """The head node."""
        return self._cluster.head_node

    def add(self) -> None:
        """A node joins."""
        self.workers.append(self._cluster.add_node(num_cpus=CPUS, object_store_memory=100_000_000))

    def kill(self, node: Any) -> None:
        """A node is lost."""
        raylet = raylet_of(node)
        below = descendants(raylet)
        os.kill(raylet, signal.SIGKILL)
        for pid in below:
            kill(pid)
        self.workers.remove(node)
        with suppress(AssertionError, OSError):
            self._cluster.remove_node(node, allow_graceful=False)

    def processes(self, node: Any, *words: str) -> list[int]:
        """Workers of ``node`` whose name has one of ``words``, oldest first."""
        return sorted(
            pid for pid, command in descendants(raylet_of(node)).items() if any(word in command for word in words)
        )

    def shutdown(self) -> None:
        """All of it."""
        self._cluster.shutdown()


def raylet_of(node: Any) -> int:
    """Process id of a node's raylet."""
    return int(node.all_processes["raylet"][0].process.pid)


@contextmanager
def cluster(count: int) -> Iterator[Nodes]:
    """A head and ``count`` nodes for the time of the block."""
    # Idle workers, kept ready for tasks that never come, would cost more than all the rest here.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_prestart_worker_first_driver": "0"}
    nodes = Nodes(count)
    try:
        yield nodes
    finally:
        nodes.shutdown()
