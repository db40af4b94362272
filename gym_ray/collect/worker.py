"""The agent worker: hundreds of rollouts in flight in one process, each durable the moment it ends.

It is a plain synchronous object that owns a private event loop in a thread of its own. Any number of
threads may call :meth:`AgentWorker.run`; each call takes a block of tasks, waits until every rollout of it
has a verdict in the journal, and returns receipts in input order. Who wants the rollouts themselves, one
group at a time, calls :meth:`AgentWorker.group`. It knows nothing of Ray Data, so other drivers can feed it.

Invariants: a rollout that the journal has is never made again; no straggler holds back a finished one (it
is in the journal already); a rollout in the air when the process dies is made again from its start.
"""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import orjson
import uvloop

from gym_ray.agents.load import make_agent
from gym_ray.collect.attempt import Flight, RolloutMaker, TaskSpec
from gym_ray.collect.config import RunConfig
from gym_ray.collect.garbage import Garbage
from gym_ray.collect.group import judge, judgeable, mask, settle_group
from gym_ray.collect.journal.frames import OUTCOME_CODES, Kind
from gym_ray.collect.journal.history import Earlier, History
from gym_ray.collect.journal.index import Deaths
from gym_ray.collect.journal.record import decode, encode
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.collect.lanes import Boarding, Lanes
from gym_ray.collect.recorded import RecordedMaker, Recording
from gym_ray.collect.reporter import Reporter
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.tracing import TracedMaker, Tracing
from gym_ray.models.connect import ListEndpoints, connect_model
from gym_ray.models.protocol import Model
from gym_ray.models.sampling import effective_params
from gym_ray.models.turnstile import Turnstile
from gym_ray.resources.connect import connect
from gym_ray.resources.judge import Judges
from gym_ray.types.errors import FailureKind, Stage, describe
from gym_ray.types.outcome import Failure, Outcome
from gym_ray.types.rollout import Rollout

T = TypeVar("T")
NO_DEATHS = Deaths(0, 0)


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker needs, picklable. ``pools``: actor pools by environment (absent: inline).

    ``endpoints``: lists our own deployment's replicas; None for a remote endpoint. ``judges``: for inline
    environments. ``board``: the driver's board actor. ``earlier``: what attempts before this one left in the
    journal; None when there was none.
    """

    run: str
    config: RunConfig
    pools: dict[str, Any] = field(default_factory=dict)
    endpoints: ListEndpoints | None = None
    judges: Judges | None = None
    board: Any = None
    earlier: Earlier | None = None


@dataclass(slots=True)
class PlannedTask:
    """One row of the plan: rollouts ``first_index`` .. ``first_index + rollouts - 1`` of one task.

    ``endpoints``: base URLs at which these rollouts find their model, in place of ``model.base_url``; each rollout
    sticks to one. Empty: the run's model.
    """

    number: int
    task_id: str
    environment: str
    first_index: int
    rollouts: int
    row: bytes
    endpoints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a block ended: rollouts finished now, found finished in the journal, and not started (stopping)."""

    finished: int
    known: int
    skipped: int


class AgentWorker:
    """See the module."""

    def __init__(self, setup: WorkerSetup, name: str) -> None:
        self._setup, self._name = setup, name
        self._incarnation = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._run_dir = RunDir(setup.run)
        self._history = History(self._run_dir, name, setup.earlier)
        self._loop = uvloop.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="rollouts", daemon=True).start()
        self._submit(self._open())

    def run(self, tasks: list[PlannedTask]) -> Receipt:
        """Make every rollout of ``tasks`` that the journal lacks. Blocks the calling thread."""
        return self._submit(self._run(tasks))

    def group(self, task: PlannedTask) -> Future[list[bytes]]:
        """Make what the journal lacks of ``task``; the records of all its rollouts in order, durable by then.

        To be asked once per rollout in a worker's life. The future raises UserError when the journal cannot be
        written, and whatever a row that breaks its environment's rules raises.
        """
        return asyncio.run_coroutine_threadsafe(self._group(task), self._loop)

    def close(self) -> None:
        """Flush the journal and let go of models and environments."""
        self._submit(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _submit(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> None:
        setup, config = self._setup, self._setup.config
        self._journal = JournalWriter(self._run_dir, self._name, fsync=config.collect.fsync)
        self._recording = Recording(config.recorded) if config.recorded else None
        self._models: dict[tuple[str, ...], Model] = {
            (): self._recording or connect_model(config.model, setup.endpoints)
        }
        self._resources = {
            name: connect(name, environment, setup.pools.get(name), setup.judges)
            for name, environment in config.envs.items()
        }
        self._tracing = Tracing() if config.collect.trace else None
        self._makers: dict[tuple[str, tuple[str, ...]], RolloutMaker] = {}
        self._lanes = Lanes(config.collect.in_flight)
        self._boarding, self._begun = Boarding(config.collect.in_flight), Turnstile()
        self._policies = {name: config.model_of(name) for name in config.envs}
        self._gates = {name: Lanes(env.in_flight).of(0) for name, env in config.envs.items() if env.in_flight}
        agents = config.collect.num_agents
        self._reporter = Reporter(setup.board, self._name, self._incarnation, lambda: self._journal.lag_s, agents)
        self._reporter.start()
        self._seen: set[tuple[int, int]] = set()
        self._handed: dict[tuple[int, int], bytes] = {}
        self._garbage = asyncio.ensure_future(Garbage().watch())

    def _maker(self, environment: str, endpoints: tuple[str, ...]) -> RolloutMaker:
        maker = self._makers.get((environment, endpoints))
        if maker is None:
            config, resources = self._setup.config, self._resources[environment]
            if endpoints not in self._models:
                elsewhere = config.model.model_copy(update={"kind": "openai", "base_url": list(endpoints)})
                self._models[endpoints] = connect_model(elsewhere, None)
            settings = config.agent_of(environment)
            agent = make_agent(settings, gymnasium=resources.gymnasium)
            kind, attempts = type(agent).__name__, config.collect.max_attempts
            if self._recording is not None:
                maker = RecordedMaker(self._recording, agent, kind, settings, resources, attempts)
            else:
                make = RolloutMaker if self._tracing is None else partial(TracedMaker, self._tracing)
                maker = make(agent, kind, settings, self._models[endpoints], resources, attempts)
            self._makers[environment, endpoints] = maker
        return maker

    async def _run(self, tasks: list[PlannedTask]) -> Receipt:
        block = (tasks[0].number, tasks[0].first_index) if tasks else (-1, -1)
        if block in self._seen:
            # Ray asks again for a block whose receipt was lost: what it made is in our own journal.
            await self._journal.flushed()
            self._history.read(self._journal.segment)
        self._seen.add(block)
        missing = [self._missing(task) for task in tasks]
        rollouts = sum(map(len, missing))
        with self._reporter.waiting(rollouts):
            await self._boarding.enter(rollouts)
        counts = await asyncio.gather(*map(self._run_task, tasks, missing))
        await self._journal.flushed()
        await self._reporter.settle()
        return Receipt(*(sum(column) for column in zip(*counts, strict=True))) if counts else Receipt(0, 0, 0)

    async def _group(self, planned: PlannedTask) -> list[bytes]:
        missing = self._missing(planned)
        keys = [(planned.number, planned.first_index + place) for place in range(planned.rollouts)]
        self._handed |= dict.fromkeys(((planned.number, index) for index in missing), b"")
        try:
            with self._reporter.waiting(len(missing)):
                await self._boarding.enter(len(missing))
            await self._run_task(planned, missing)
            await self._journal.flushed()
            return [self._handed.get(key) or self._known(*key) for key in keys]
        finally:
            for index in missing:
                del self._handed[planned.number, index]

    def _known(self, task: int, index: int) -> bytes:
        payload = self._history.payload(task, index)
        assert payload is not None
        return payload

    def _missing(self, planned: PlannedTask) -> list[int]:
        """The rollout indexes that the journal lacks, and the recording has where there is one."""
        number, history, recording = planned.number, self._history, self._recording
        wanted = range(planned.first_index, planned.first_index + planned.rollouts)
        missing = [index for index in wanted if not history.is_done(number, index)]
        return [index for index in missing if recording is None or recording.has(number, index)]

    async def _run_task(self, planned: PlannedTask, missing: list[int]) -> tuple[int, int, int]:
        known = planned.rollouts - len(missing)
        if not missing:
            return 0, known, 0
        maker = self._maker(planned.environment, planned.endpoints)
        task = self._spec(planned, maker)
        if maker.resources.scores_groups:
            members = [self._member(maker, task, index) for index in missing]
            deadline_s = self._setup.config.collect.group_deadline_s
            settle = partial(self._settle, maker, task)
            finished = await settle_group(members, deadline_s, settle, self._finish)
        else:
            finished = sum(await asyncio.gather(*(self._single(maker, task, index) for index in missing)))
        return finished, known, len(missing) - finished

    async def _single(self, maker: RolloutMaker, task: TaskSpec, index: int) -> bool:
        return await self._begin(maker, task, index, self._finish) is not None

    async def _member(self, maker: RolloutMaker, task: TaskSpec, index: int) -> Rollout | None:
        generated = self._history.generated_payload(task.number, index)
        if generated:
            self._boarding.leave()
            return decode(generated)
        return await self._begin(maker, task, index, self._keep_generated)

    def _keep_generated(self, rollout: Rollout) -> None:
        if rollout.failure is None:
            self._append(Kind.GENERATED, rollout)

    async def _begin(
        self, maker: RolloutMaker, task: TaskSpec, index: int, keep: Callable[[Rollout], None]
    ) -> Rollout | None:
        deaths = self._deaths(task.number, index)
        if deaths.total > 1:
            # Suspects may wait for long; nobody waits for them.
            self._boarding.leave()
            return await self._fly(maker, task, index, deaths, keep)
        gate = self._gates.get(task.environment)
        if gate is not None:
            # Nor does anybody wait for those that their environment's own bound holds back.
            self._boarding.leave()
            with self._reporter.waiting():
                await gate.acquire()
        try:
            return await self._fly(maker, task, index, deaths, keep)
        finally:
            (self._boarding.leave if gate is None else gate.release)()

    async def _fly(
        self, maker: RolloutMaker, task: TaskSpec, index: int, deaths: Deaths, keep: Callable[[Rollout], None]
    ) -> Rollout | None:
        """One rollout in its lane, given to ``keep``; None when the run is stopping and it was not begun."""
        if deaths.alone >= self._setup.config.collect.max_worker_deaths:
            keep(poisonous := self._poisonous(maker, task, index, deaths))
            return poisonous
        with self._reporter.waiting():
            if not self._begun.try_pass():
                await self._begun.wait()
            lane = self._lanes.of(deaths.total)
            await lane.acquire()
        try:
            if self._reporter.stopping:
                return None
            self._journal.start(task.number, index, alone=self._lanes.alone(deaths.total))
            with self._reporter.flying(Flight(f"{task.environment}/{task.task_id}/{index}")) as flight:
                rollout = await maker.make(task, index, flight)
            keep(rollout)
            if deaths.total > 1:
                # Landed for good before the next suspect flies: its death must not be blamed on this one.
                await self._journal.flushed()
            return rollout
        finally:
            lane.release()

    async def _settle(self, maker: RolloutMaker, task: TaskSpec, group: list[Rollout]) -> None:
        """A group's verdict, in its lane and journalled as a rollout is: it may kill this process too."""
        able = judgeable(group)
        known = (self._deaths(task.number, one.rollout_index) for one in able)
        deaths = max(known, key=lambda one: one.total, default=NO_DEATHS)
        lane = self._lanes.of(deaths.total)
        await lane.acquire()
        try:
            if deaths.alone >= self._setup.config.collect.max_worker_deaths:
                mask(able, Failure(FailureKind.KILL_SHAPED, Stage.GROUP, _killer("its group's verifier", deaths)))
            elif able:
                self._journal.start(task.number, able[0].rollout_index, alone=self._lanes.alone(deaths.total))
                with self._reporter.flying(Flight(f"{task.environment}/{task.task_id}/group", "group")):
                    await judge(maker, task, able)
            for rollout in group:
                self._finish(rollout)
            if deaths.total > 1:
                await self._journal.flushed()
        finally:
            lane.release()

    def _deaths(self, task: int, index: int) -> Deaths:
        return self._history.deaths(task, index)

    def _poisonous(self, maker: RolloutMaker, task: TaskSpec, index: int, deaths: Deaths) -> Rollout:
        rollout = maker.blank(task, index, attempt=deaths.total)
        rollout.failure = Failure(FailureKind.KILL_SHAPED, Stage.WORKER, _killer("it", deaths))
        return rollout

    def _finish(self, rollout: Rollout) -> None:
        self._append(Kind.ROLLOUT, rollout)
        self._reporter.tally.count(rollout)

    def _append(self, kind: Kind, rollout: Rollout) -> None:
        try:
            payload = encode(rollout)
        except (ValueError, TypeError, OverflowError) as error:
            # A model or an environment made something that is no record: that costs this rollout only.
            rollout.outcome, rollout.reward, rollout.trajectory = Outcome.FAILED, None, None
            rollout.failure = Failure(FailureKind.AGENT_RUN_ERROR, Stage.WORKER, f"no record: {describe(error)}")
            payload = encode(rollout)
        reward = rollout.reward.value if rollout.reward is not None else None
        key = rollout.task_number, rollout.rollout_index
        if kind is Kind.ROLLOUT and key in self._handed:
            self._handed[key] = payload
        self._journal.append(kind, *key, OUTCOME_CODES[rollout.outcome], reward, payload)

    def _spec(self, planned: PlannedTask, maker: RolloutMaker) -> TaskSpec:
        row = orjson.loads(planned.row)
        policy = self._policies[planned.environment]
        params = effective_params(row["responses_create_params"], policy, maker.resources.tools)
        return TaskSpec(planned.number, planned.task_id, planned.environment, planned.row, row, params)

    async def _close(self) -> None:
        self._garbage.cancel()
        await self._reporter.stop()
        self._journal.close()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)
        for model in self._models.values():
            await model.close()
        for resources in self._resources.values():
            await resources.aclose()


def _killer(what: str, deaths: Deaths) -> str:
    return f"the agent worker died {deaths.total} times while {what} ran, the last times with nothing else running"
