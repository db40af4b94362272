"""Who is killed next: a seeded choice among what is alive, and the kill itself."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from tests.chaos.havoc.nodes import Nodes
from tests.support.processes import kill

AGENT, RESOURCES, REPLICA, NODE, DRIVER = "agent worker", "resources actor", "model replica", "node", "driver"
NAMES = {
    AGENT: "ray::MapWorker(MapBatches(BlockWorker",
    RESOURCES: "ray::ResourcesActor",
    REPLICA: "ServeReplica:policy",
}
WEIGHTS = {AGENT: 29, RESOURCES: 29, REPLICA: 25, NODE: 11, DRIVER: 6}
LEAST_NODES = 2
"""Fewer nodes than this are never left."""


class Dice:
    """Kills by chance. ``kinds``: what may be hit. ``spared``: a node that is not, nor what runs on it."""

    def __init__(self, seed: int, nodes: Nodes, kinds: Iterable[str] = tuple(WEIGHTS), spared: Any = None) -> None:
        self.random = random.Random(seed)
        self._nodes, self._kinds, self._spared = nodes, list(kinds), spared

    def kill(self, driver: Callable[[], None]) -> tuple[str, float] | None:
        """Kill somebody; returns what kind it was and when, None when nothing of the kind drawn is alive.

        ``driver``: kills the driver.
        """
        kind = self.random.choices(self._kinds, [WEIGHTS[kind] for kind in self._kinds])[0]
        if kind == DRIVER:
            at = time.time()
            driver()
            return kind, at
        nodes = [node for node in self._nodes.workers if node is not self._spared]
        if kind == NODE:
            if len(self._nodes.workers) <= LEAST_NODES or not nodes:
                return None
            victim, at = self.random.choice(nodes), time.time()
            self._nodes.kill(victim)
            return kind, at
        pids = [pid for node in nodes for pid in self._nodes.processes(node, NAMES[kind])]
        if not pids:
            return None
        at = time.time()
        kill(self.random.choice(pids))
        return kind, at
