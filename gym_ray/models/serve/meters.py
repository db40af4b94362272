"""What a replica tells Prometheus, by way of Ray, at each of its health checks (every two seconds).

The engine's key-value cache is known where vLLM keeps statistics: ``model.serve.engine_args.disable_log_stats=false``.
They cost vLLM some work per step, so they are off unless asked for.
"""

from __future__ import annotations

from ray.util.metrics import Gauge

CALLS, KV_USED = "gym_ray_replica_calls", "gym_ray_replica_kv_used_ratio"
NAMES = {CALLS: "Model calls in flight in a replica", KV_USED: "Used part of the engine's key-value cache, 0 to 1"}


class ReplicaMeters:
    """The gauges of one replica. Ray tells replicas apart by their worker id."""

    def __init__(self, app_name: str) -> None:
        self._tags = {"app": app_name}
        self._gauges = {name: Gauge(name, description=text, tag_keys=("app",)) for name, text in NAMES.items()}

    def tell(self, calls: int, kv_used: float | None) -> None:
        """``kv_used``: None where the engine does not say."""
        self._gauges[CALLS].set(calls, tags=self._tags)
        if kv_used is not None:
            self._gauges[KV_USED].set(kv_used, tags=self._tags)
