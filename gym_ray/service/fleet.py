"""The fleet: agent workers over one run directory, fed group by group at any time.

    fleet = Fleet(config)
    await fleet.start()
    group = await fleet.run_group(fleet.plan(row, rollouts=8))     # 8 rollouts, durable, in order of index
    await fleet.close()

Belongs to one event loop; any number of groups may be in the air. What waits for a worker leaves as one call,
and what it has finished comes back as one, without waiting for slower groups.

Invariants: a rollout is handed over only when the journal has it. A worker that dies is replaced under its
name, and is given its groups again: the journal tells what is done, so nothing is made twice, and a row that
keeps killing its worker is given up as a failed rollout (``collect.max_worker_deaths``). Numbers of groups are
unique in a run directory, across restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import ray

from gym_ray.collect.board import start_board
from gym_ray.collect.config import RunConfig
from gym_ray.collect.fingerprint import check_resumable, write_config
from gym_ray.collect.hosts import hosts_up
from gym_ray.collect.journal.frames import INDEX_BITS
from gym_ray.collect.journal.index import scan
from gym_ray.collect.journal.record import decode
from gym_ray.collect.judges import asked_judges
from gym_ray.collect.remaining import SharedIndex
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.tasks.rules import BadTask, TaskRules, parse_row, task_id_of
from gym_ray.collect.worker import PlannedTask, WorkerSetup
from gym_ray.models.remote import api_key
from gym_ray.resources.load import load_servers
from gym_ray.service.hand import CALLS, Finished, GroupKey, Hand, Parcel
from gym_ray.types.errors import FailureKind, RolloutError, Stage, UserError
from gym_ray.types.rollout import Rollout

log = logging.getLogger(__name__)

TAKE_S = 10.0
"""One ``take`` waits so long for a finished group."""
CALL_TIMEOUT_S = 300.0
"""A worker that answers no call for so long is taken for dead."""
FALSE_STARTS = 5
"""Workers in a row that die before they answer once, until the fleet gives up."""
CLOSE_S = 30.0


@dataclass(slots=True)
class _Group:
    """A group in the air. ``records``: set when it has ended."""

    task: PlannedTask
    records: asyncio.Future[list[bytes]]


@dataclass(slots=True)
class _Seat:
    """One worker's place. ``groups``: what its worker owes. ``unsent``: those that it has not been told of.
    ``wake``: there is something unsent. ``up``: a worker has answered, or the fleet has failed."""

    name: str
    groups: dict[GroupKey, _Group] = field(default_factory=dict)
    unsent: list[PlannedTask] = field(default_factory=list)
    rollouts: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    up: asyncio.Event = field(default_factory=asyncio.Event)


class Fleet:
    """See the module.

    Raises:
        UserError: on construction, for a configuration that cannot work.
    """

    def __init__(self, config: RunConfig) -> None:
        servers = load_servers(config.envs)
        if config.model.kind == "openai":
            api_key(config.model)  # A missing key is told now, not by the first worker.
        self._asked = asked_judges(config, servers)
        self._config, self._rules = config, TaskRules(config.envs, servers)
        self._stack = contextlib.ExitStack()
        self._seats: list[_Seat] = []
        self._serving: list[asyncio.Task[None]] = []
        self._error: UserError | None = None
        self._next = 0

    async def start(self) -> None:
        """Bring everything up: the policy's deployment if it is ours, judges, environments, workers.

        Raises:
            UserError: the run directory or something to start does not allow it (one line each).
        """
        setup = await asyncio.to_thread(self._bring_up)
        self._seats = [_Seat(f"agent{place}") for place in range(self._config.collect.num_agents)]
        self._serving = [asyncio.create_task(self._serve(seat, setup)) for seat in self._seats]
        await asyncio.gather(*(seat.up.wait() for seat in self._seats))
        if self._error is not None:
            raise self._error

    def plan(
        self,
        row: dict[str, Any] | bytes,
        *,
        rollouts: int | None = None,
        environment: str | None = None,
        endpoints: Sequence[str] = (),
        number: int | None = None,
    ) -> PlannedTask:
        """A group of ``row``, a task row as task files have it.

        ``rollouts``: default ``collect.rollouts_per_task``. ``environment``: default by the row's own fields.
        ``endpoints``: see :class:`PlannedTask`. ``number``: a group planned before a restart keeps its own.

        Raises:
            UserError: the row is no task of this run.
        """
        raw, environment, task_id = self.check(row, environment)
        if number is None:
            number = self._next
        self._next = max(self._next, number + 1)
        count = self._config.collect.rollouts_per_task if rollouts is None else rollouts
        return PlannedTask(number, task_id, environment, 0, count, raw, tuple(endpoints))

    def check(self, row: dict[str, Any] | bytes, environment: str | None = None) -> tuple[bytes, str, str]:
        """The row as JSON, its environment and its task id. Raises UserError: it is no task of this run."""
        try:
            raw = row if isinstance(row, bytes) else orjson.dumps(row)
            parsed = parse_row(raw)
            environment = environment or self._rules.route(parsed)
            if environment not in self._config.envs:
                raise BadTask(f"environment: `{environment}` is not chosen (chosen: {', '.join(self._config.envs)})")
            self._rules.check(parsed, environment)
            return raw, environment, task_id_of(parsed, raw)[0]
        except (BadTask, orjson.JSONEncodeError) as error:
            raise UserError("; ".join(map(str, error.args))) from None

    async def run_group(self, task: PlannedTask) -> list[Rollout]:
        """All rollouts of ``task``, in order of index: scored, masked or failed. To be asked once per group.

        May be cancelled: the rollouts go on, and are in the journal when they end.

        Raises:
            UserError: the fleet cannot go on (a full disk, a model that cannot work).
            RolloutError: the group could not be begun.
        """
        return [decode(record) for record in await self.run_records(task)]

    async def run_records(self, task: PlannedTask) -> list[bytes]:
        """:meth:`run_group`, encoded (``collect.journal.record``)."""
        if self._error is not None:
            raise self._error
        if not self._seats:
            raise UserError("the fleet is not up: call start() first")
        seat = min(self._seats, key=lambda one: one.rollouts)
        group = _Group(task, asyncio.get_running_loop().create_future())
        seat.groups[GroupKey(task.number, task.first_index)] = group
        seat.rollouts += task.rollouts
        seat.unsent.append(task)
        seat.wake.set()
        return await asyncio.shield(group.records)

    @property
    def next_number(self) -> int:
        """The number that the next planned group gets: above all that the run directory has seen."""
        return self._next

    @property
    def in_flight(self) -> int:
        """Rollouts handed in whose groups have not ended."""
        return sum(seat.rollouts for seat in self._seats)

    async def close(self) -> None:
        """End workers and everything that :meth:`start` brought up. Groups in the air are given up: asked again
        of a new fleet over this directory, they go on from what the journal has."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self._fail(UserError("the fleet was closed"))
        await asyncio.to_thread(self._stack.close)

    def _bring_up(self) -> WorkerSetup:
        config = self._config
        run = RunDir.create(config.run_dir)
        settings = config.model_dump(mode="json")
        check_resumable(run, settings)
        write_config(run, settings)
        index = scan(run)
        for keys in (index.done.keys, index.generated.keys, index.starts):
            if len(keys):
                self._next = max(self._next, (int(keys.max()) >> INDEX_BITS) + 1)
        hosts = self._stack.enter_context(hosts_up(config, self._asked, log.info))
        earlier = SharedIndex(ray.put(index)) if index.files else None
        return WorkerSetup(run.address, config, hosts.pools, hosts.endpoints, hosts.judges, start_board(), earlier)

    async def _serve(self, seat: _Seat, setup: WorkerSetup) -> None:
        """Keep a worker in ``seat``, one after another, for as long as the fleet is up."""
        false_starts = 0
        while self._error is None:
            actor = self._start_worker(seat, setup)
            seat.unsent = [group.task for group in seat.groups.values()]
            seat.wake.set()
            sending = asyncio.create_task(self._send(seat, actor))
            answered = False
            try:
                async for parcel in _parcels(actor):
                    answered = True
                    self._arrive(seat, parcel)
            except (ray.exceptions.RayError, TimeoutError) as error:
                log.warning("agent worker %s died: %s", seat.name, " ".join(str(error).split())[:300])
            except asyncio.CancelledError:
                with contextlib.suppress(ray.exceptions.RayError, TimeoutError):
                    await asyncio.wait_for(actor.close.remote(), CLOSE_S)
                raise
            finally:
                sending.cancel()
                ray.kill(actor)
            false_starts = 0 if answered else false_starts + 1
            if false_starts >= FALSE_STARTS:
                self._fail(UserError(f"agent workers die as they start; see the Ray log of {seat.name}"))

    def _start_worker(self, seat: _Seat, setup: WorkerSetup) -> Any:
        options = {"num_cpus": self._config.collect.agent_cpus, "max_concurrency": CALLS, "enable_task_events": False}
        again = {"max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
        return ray.remote(Hand).options(**options, **again).remote(setup, seat.name)

    async def _send(self, seat: _Seat, actor: Any) -> None:
        """Hand over what waits, as one call each time."""
        with contextlib.suppress(ray.exceptions.RayError, TimeoutError):  # Its death shows where it is taken from.
            while True:
                await seat.wake.wait()
                seat.wake.clear()
                tasks, seat.unsent = seat.unsent, []
                if tasks:
                    await asyncio.wait_for(actor.begin.remote(tasks), CALL_TIMEOUT_S)

    def _arrive(self, seat: _Seat, parcel: Parcel) -> None:
        seat.up.set()
        for finished in parcel.groups:
            group = seat.groups.pop(finished.key, None)
            if group is not None:
                seat.rollouts -= group.task.rollouts
                _settle(group, finished)
        if parcel.error:
            self._fail(UserError(parcel.error))

    def _fail(self, error: UserError) -> None:
        self._error = self._error or error
        for seat in self._seats:
            for group in seat.groups.values():
                if not group.records.done():
                    group.records.set_exception(self._error)
            seat.groups.clear()
            seat.rollouts = 0
            seat.up.set()


async def _parcels(actor: Any) -> AsyncIterator[Parcel]:
    """What a worker finishes, until it cannot go on (the last parcel says why). Raises RayError, TimeoutError."""
    parcel = Parcel(0, [])
    wait_s = 0.0  # The first answer only says that it is up.
    while not parcel.error:
        parcel = await asyncio.wait_for(actor.take.remote(parcel.last, wait_s), CALL_TIMEOUT_S)
        wait_s = TAKE_S
        yield parcel


def _settle(group: _Group, finished: Finished) -> None:
    if group.records.done():
        return
    if finished.error:
        error = RolloutError(FailureKind.AGENT_RUN_ERROR, Stage.WORKER, f"no group: {finished.error}")
        group.records.set_exception(error)
    else:
        group.records.set_result(finished.records)
