"""The trainer's side of the live service: plain blocking calls, in any process that Ray knows.

    rollouts = start(config, ServiceConfig(open_groups=64))          # or connect("rollouts", cursor=CHECKPOINTED)
    rollouts.submit(rows)                                            # unless the service draws tasks itself
    for step in range(steps):
        groups = rollouts.take(32)                                   # the first 32 that are complete
        train(groups)
        save_checkpoint(cursor=groups[-1].cursor)
        rollouts.acknowledge()                                       # all that was taken so far
        rollouts.update_weights(tensors=policy.state_dict())

A trainer that dies comes back with the cursor of its last checkpoint: what it had finished is acknowledged, what
it had taken beyond is handed over again. One trainer at a time.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import ray

from gym_ray.collect.config import RunConfig
from gym_ray.collect.hosts import APP
from gym_ray.collect.journal.record import decode
from gym_ray.models.serve.control import ModelControl, Update
from gym_ray.models.serve.live import PauseMode
from gym_ray.service.config import ServiceConfig
from gym_ray.service.service import RolloutService
from gym_ray.service.wire import Handed, Status
from gym_ray.types.errors import UserError
from gym_ray.types.rollout import Rollout

NAMESPACE = "gym_ray"
WAIT_S = 10.0
"""One call waits so long for groups; :meth:`Rollouts.take` makes as many as it needs."""
CALL_TIMEOUT_S = 1800.0
"""A service that dies is started again by Ray, with all that it needs: its model may take long to load."""


@dataclass(frozen=True, slots=True)
class Group:
    """All rollouts of one task, each scored, masked or failed; at least one is scored.

    ``id``: of its submission. ``cursor``: place in the order of delivery, from 1. ``oldest``, ``newest``: policy
    versions of its sampled tokens. ``age``: versions between the oldest and the policy's when it was handed over.
    ``rerolls``: how often it was made again for being stale. ``pass_rate``: of its task, this group included.
    """

    id: int
    cursor: int
    rollouts: list[Rollout]
    oldest: int
    newest: int
    age: int
    rerolls: int
    pass_rate: float | None


class Rollouts:
    """A connection to a service; :func:`start` and :func:`connect` make one.

    ``cursor``: what the trainer was durably done with.
    """

    def __init__(self, actor: Any, cursor: int = 0) -> None:
        self._actor, self.cursor = actor, cursor
        if cursor:
            self._call("acknowledge", cursor)
        self.resume()

    def submit(
        self, rows: Sequence[dict[str, Any] | bytes], *, rollouts: int | None = None, key: str | None = None
    ) -> list[int]:
        """Roll a group of each task row; returns the groups' ids. Durable when it returns.

        ``rollouts``: per group, default ``collect.rollouts_per_task``. ``key``: names the submission; a trainer that
        was killed may repeat it under the same key, and it counts once.

        Raises:
            UserError: a row is no task of the run (then nothing is submitted).
        """
        raw = [row if isinstance(row, bytes) else orjson.dumps(row) for row in rows]
        ids: list[int] = self._call("submit", key or uuid.uuid4().hex, raw, rollouts) if raw else []
        return ids

    def take(self, count: int = 1, *, timeout_s: float | None = None) -> list[Group]:
        """The next ``count`` groups, in order of completion; fewer, or none, only when no more will come.

        Raises:
            TimeoutError: they were not complete in time. Nothing is lost: the next call gets them.
            UserError: the service cannot go on.
        """
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while True:
            wait_s = min(WAIT_S, max(0.0, deadline - time.monotonic()))
            handed, more = self._call("take", self.cursor, count, wait_s)
            if handed or not more:
                break
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{count} groups were not complete within {timeout_s:g} s")
        groups = [_group(one) for one in handed]
        if groups:
            self.cursor = groups[-1].cursor
        return groups

    def __iter__(self) -> Iterator[Group]:
        """One group after another, each as soon as it is complete; ends when no more will come."""
        while groups := self.take(1):
            yield from groups

    def acknowledge(self, cursor: int | None = None) -> None:
        """Done for good with all groups up to ``cursor`` (default: all that were taken)."""
        self._call("acknowledge", self.cursor if cursor is None else cursor)

    def pause(self, mode: PauseMode | None = None) -> None:
        """Begin no further group. ``mode``: stop the run's own model too, so that its device is free."""
        self._call("pause")
        if mode is not None:
            self._control().pause(mode)

    def drain(self, timeout_s: float = 3600.0) -> None:
        """Begin no further group, and wait until nothing is in the air.

        Raises:
            TimeoutError: something still is.
        """
        deadline = time.monotonic() + timeout_s
        while not self._call("drain", WAIT_S):
            if time.monotonic() > deadline:
                raise TimeoutError(f"rollouts are still in the air after {timeout_s:g} s")

    def resume(self, version: int | None = None) -> None:
        """Go on. ``version``: the policy's from now on; only for endpoints that the run does not deploy itself."""
        if self._call("deploys"):
            control = self._control()
            if control.paused():
                control.resume()
        self._call("resume", version)

    def update_weights(
        self,
        path: str | None = None,
        tensors: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None,
        *,
        version: int | None = None,
        mode: PauseMode = "keep",
        drain: bool = False,
    ) -> Update:
        """Give the run's own model new weights (see :class:`ModelControl`), with nothing begun meanwhile.

        ``drain``: what is in the air ends first, so that no rollout mixes versions. Else rollouts go on with the new
        weights where ``mode`` leaves them, and each token says which version sampled it. ``version``: default the next
        one; a trainer that comes back to a model deployed anew goes on with its own count.
        """
        self.pause()
        try:
            if drain:
                self.drain()
            return self._control().update_weights(path, tensors, version, mode)
        finally:
            self._call("resume", None)

    def _control(self) -> ModelControl:
        return ModelControl(self._call("deploys") or APP)

    def status(self) -> Status:
        """Counts, now."""
        status: Status = self._call("status")
        return status

    def close(self) -> None:
        """End the service and all that it started. Its run directory remembers what is owed."""
        try:
            self._call("close")
        finally:
            ray.kill(self._actor)

    def _call(self, method: str, *arguments: Any) -> Any:
        return _ask(self._actor, method, *arguments)


def start(
    config: RunConfig, service: ServiceConfig | None = None, *, name: str = "rollouts", cursor: int = 0
) -> Rollouts:
    """The service called ``name`` on this Ray cluster: the one that is up, else a new one that goes on with what
    ``config.run_dir`` remembers. It outlives this process; one that is up keeps its settings. ``cursor``: see
    :class:`Rollouts`.

    Raises:
        UserError: the configuration cannot work, or another run has that name.
    """
    options = {"name": name, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    limits = {"max_restarts": -1, "max_task_retries": -1, "max_concurrency": 1000, "num_cpus": 0}
    actor = ray.remote(RolloutService).options(**options, **limits).remote(config, service or ServiceConfig())
    running = _ask(actor, "run_dir")
    if running != config.run_dir:
        raise UserError(f"the service {name!r} runs in {running}: choose another name, or connect to it")
    try:
        return Rollouts(actor, cursor)
    except UserError:
        # It cannot go on: nothing is lost, and its name is free for the next try.
        with contextlib.suppress(UserError):
            _ask(actor, "close")
        ray.kill(actor)
        raise


def connect(name: str = "rollouts", *, cursor: int = 0) -> Rollouts:
    """The service called ``name`` on this Ray cluster. Raises UserError: there is none."""
    try:
        actor = ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        raise UserError(f"no rollout service called {name!r} is up on this cluster: start() makes one") from None
    return Rollouts(actor, cursor)


def _ask(actor: Any, method: str, *arguments: Any) -> Any:
    try:
        return ray.get(getattr(actor, method).remote(*arguments), timeout=CALL_TIMEOUT_S)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from None
        raise
    except ray.exceptions.RayError as error:
        raise UserError(f"the rollout service does not answer: {' '.join(str(error).split())[:300]}") from error


def _group(handed: Handed) -> Group:
    rollouts = [decode(record) for record in handed.records]
    facts = (handed.oldest, handed.newest, handed.age, handed.rerolls, handed.pass_rate)
    return Group(handed.id, handed.cursor, rollouts, *facts)
