"""The live rollout service: a named Ray actor between a trainer and its fleet.

It rolls what is submitted, or draws tasks itself; hands over scored groups as they complete; and remembers in
the run directory what it owes, so that any process may die at any moment (``client`` is the trainer's side).

Invariants:

- A group that was submitted is delivered, failed, or dropped for a reason; the counts always add up (``ledger``).
- Nothing is handed over, begun or acknowledged before the directory says so. Rollouts are in the journal; a
  service that starts again reads them there, and makes only what is missing.
- A group whose oldest sampled token is more than ``max_policy_age`` versions old is not handed over: its
  rollouts are made again, or it is dropped as ``stale``.
- A group that was handed over and not acknowledged is handed over again, under the same cursor, to a trainer
  that asks for what comes after an earlier cursor.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from gym_ray.collect.config import RunConfig
from gym_ray.collect.hosts import app_of
from gym_ray.collect.journal.record import decode
from gym_ray.collect.rundir import RunDir
from gym_ray.service.checkpoint import GATHER_S, Checkpoint
from gym_ray.service.config import ServiceConfig
from gym_ray.service.curriculum import PassRates, Pool, refusal
from gym_ray.service.fleet import Fleet
from gym_ray.service.ledger import Entry, Ledger
from gym_ray.service.rows import POOL, SERVICE, Rows
from gym_ray.service.wire import Handed, Status, policy_versions
from gym_ray.types.errors import RolloutError, UserError, describe
from gym_ray.types.outcome import Outcome


@dataclass(slots=True)
class _Ready:
    """A finished group, kept until it is acknowledged."""

    records: list[bytes]
    task: str
    oldest: int
    newest: int


class RolloutService:
    """The actor class (see the module). Every method may be repeated: Ray does so when the actor was restarted."""

    def __init__(self, config: RunConfig, service: ServiceConfig) -> None:
        self._config, self._service = config, service
        self._run = RunDir(config.run_dir)
        self._ledger, self._rows = Ledger(), Rows(self._run)
        self._rates = PassRates(service.curriculum.memory)
        self._pool: Pool | None = None
        self._version, self._paused = 0, False
        self._queue: deque[Entry] = deque()
        self._rolling: dict[int, asyncio.Task[None]] = {}
        self._ready: dict[int, _Ready] = {}
        self._starting: asyncio.Task[None] | None = None
        self._error: UserError | None = None
        self._closing = contextlib.AsyncExitStack()
        self._ended: set[str] = set()  # Sources of groups that ended since the last save.

    async def run_dir(self) -> str:
        """Where it runs."""
        return self._run.address

    async def deploys(self) -> str | None:
        """The application of the policy, where its deployment is the run's own."""
        return app_of(self._config.model) if self._config.model.kind == "vllm" else None

    async def submit(self, key: str, rows: list[bytes], rollouts: int | None) -> list[int]:
        """Groups of these task rows, durable when this returns. A ``key`` that was used before changes nothing.

        Raises:
            UserError: a row is no task of this run (then nothing is submitted).
        """
        await self._up()
        async with self._submitting:
            if key in self._ledger.submissions:
                first, count = self._ledger.submissions[key]
                return list(range(first, first + count))
            for line, row in enumerate(rows):
                try:
                    self._fleet.check(row)
                except UserError as error:
                    raise UserError(f"row {line + 1} of {len(rows)}: {error}") from None
            source = f"{self._ledger.next_id:08d}"
            await asyncio.to_thread(self._rows.keep, source, rows)
            size = self._config.collect.rollouts_per_task if rollouts is None else rollouts
            entries = [self._ledger.submit(source, line, size) for line in range(len(rows))]
            self._ledger.remember(key, [entry.id for entry in entries])
            await self._save()
        self._queue.extend(entries)
        self._notify()
        return [entry.id for entry in entries]

    async def take(self, after: int, count: int, wait_s: float) -> tuple[list[Handed], bool]:
        """Up to ``count`` groups beyond cursor ``after``, as soon as there are so many; fewer when no more will come.

        Returns the groups (none when ``wait_s`` seconds did not suffice), and whether more may come.
        """
        await self._up()
        if count > self._service.open_groups:
            raise UserError(f"take: {count} groups at once, but open_groups={self._service.open_groups}: raise it")
        deadline = time.monotonic() + wait_s
        await self._look_at_version()  # Once: whoever changes it while this waits says so by ``resume``.
        while True:
            changed = self._changed
            entries, more = self._deliverable(after, count)
            if len(entries) == count or not more:
                return await self._hand_over(entries), more
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), max(0.0, deadline - time.monotonic()))
            if self._error is not None:
                raise self._error
            if time.monotonic() >= deadline:
                return [], True

    async def acknowledge(self, cursor: int) -> None:
        """The trainer is done with all groups up to ``cursor``, for good."""
        await self._up()
        ended = self._ledger.acknowledge(cursor)
        for entry in ended:
            self._ready.pop(entry.id, None)
            self._ended.add(entry.source)
        if ended:
            await self._save()

    async def pause(self) -> None:
        """Begin no further group. What is in the air goes on."""
        await self._up()
        self._paused = True

    async def drain(self, wait_s: float) -> bool:
        """Begin no further group and wait until nothing is in the air; False when ``wait_s`` did not suffice."""
        await self.pause()
        async with self._beginning:
            pass  # What was chosen before the pause is in the air now.
        if self._rolling:
            await asyncio.wait(list(self._rolling.values()), timeout=wait_s)
        return not self._rolling

    async def resume(self, version: int | None = None) -> None:
        """Go on. ``version``: of the policy from now on, for endpoints that are not deployed by the run itself."""
        await self._up()
        if version is not None and version > self._version:
            self._version = version
            await self._save()
        self._paused = False
        await self._look_at_version()
        self._notify()

    async def status(self) -> Status:
        """Counts, now."""
        await self._up()
        await self._look_at_version()
        ledger = self._ledger
        handed = sum(entry.cursor > 0 for entry in ledger.open.values())
        ready = sum(not ledger.open[one].cursor for one in self._ready)
        rolling = sum(one in ledger.open and not ledger.open[one].cursor for one in self._rolling)
        return Status(
            submitted=ledger.submitted,
            delivered=ledger.delivered,
            failed=ledger.failed,
            dropped=dict(ledger.dropped),
            queued=len(ledger.open) - handed - ready - rolling,
            rolling=rolling,
            ready=ready,
            handed=handed,
            rerolled=ledger.rerolled,
            in_flight=self._fleet.in_flight,
            version=self._version,
            paused=self._paused,
            draws=dict(self._pool.drawn) if self._pool else {},
        )

    async def close(self) -> None:
        """Write everything and end what was started. What is in the air is given up; a new service goes on with it."""
        try:
            await self._up()
            self._dispatching.cancel()
            for rolling in self._rolling.values():
                rolling.cancel()
            await self._save(rates=True)
        finally:
            await self._closing.aclose()

    async def _up(self) -> None:
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        await asyncio.shield(self._starting)
        if self._error is not None:
            raise self._error

    async def _start(self) -> None:
        self._changed, self._wake = asyncio.Event(), asyncio.Event()
        self._submitting, self._beginning = asyncio.Lock(), asyncio.Lock()
        self._checkpoint = Checkpoint(self._run, self._state, self._rates.dump)
        self._fleet = Fleet(self._config)
        self._closing.push_async_callback(self._fleet.close)
        await self._fleet.start()
        await asyncio.to_thread(self._load)
        await self._begin_with_the_model()
        self._queue.extend(self._ledger.open.values())
        self._dispatching = asyncio.create_task(self._dispatch())
        self._notify()

    def _load(self) -> None:
        """What an earlier service left, and the task files."""
        with self._run.writing(SERVICE):
            self._run.filesystem.create_dir(self._run.path(SERVICE), recursive=True)
        state, rates = self._checkpoint.read()
        if rates is not None:
            self._rates.load(rates)
        if state is not None:
            self._ledger, self._version = Ledger.load(state["ledger"]), state["version"]
        self._ledger.next_number = max(self._ledger.next_number, self._fleet.next_number)
        if not self._service.draw_tasks:
            return
        self._rows.read_pool(self._config)
        tasks = self._rows.pool
        names = [task.environment for task in tasks], [task.task_id for task in tasks]
        self._pool = Pool(self._service.curriculum, self._rates, *names)
        if state is not None and state["pool"] is not None:
            count, fingerprint, drawn = state["pool"]
            if count > len(tasks) or self._rows.fingerprint(count) != fingerprint:
                reason = "tasks: the task files were changed under this run; tasks may be appended, not changed: "
                raise UserError(reason + "bring the old files back, or use a new run_dir")
            self._pool.drawn |= {name: drawn[name] for name in self._pool.drawn if name in drawn}
        self._pool_mark = [len(tasks), self._rows.fingerprint(len(tasks))]

    async def _begin_with_the_model(self) -> None:
        """A model deployed anew counts from version 0: what was rolled before, and not handed over, is made again."""
        if not await self.deploys():
            return
        before, self._version = self._version, 0
        await self._look_at_version()
        for entry in self._ledger.open.values():
            if self._version < before and entry.begun >= 0 and not entry.cursor:
                self._ledger.reroll(entry)

    def _state(self) -> dict[str, Any]:
        pool = [*self._pool_mark, dict(self._pool.drawn)] if self._pool else None
        return {"ledger": self._ledger.dump(), "version": self._version, "pool": pool}

    async def _save(self, *, rates: bool = False) -> None:
        """Return once the directory has a state at least as new as this moment's."""
        # Settled before the save: what ends while it is under way is open on disk, and is read there after a death.
        unneeded = self._ended - {POOL} - {entry.source for entry in self._ledger.open.values()}
        self._ended = set()
        await self._checkpoint.save(rates=rates)
        for source in unneeded:
            await asyncio.to_thread(self._rows.forget, source)

    async def _look_at_version(self) -> None:
        """Ask which policy version is wanted now, where the model is deployed by the run itself."""
        app_name = await self.deploys()
        if app_name is None:
            return
        from gym_ray.models.serve.desired import DesiredState

        desired = await asyncio.to_thread(DesiredState(app_name).read)
        self._version = max(self._version, desired.version)

    def _notify(self) -> None:
        """Something has changed: whoever waits looks again."""
        self._wake.set()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _dispatch(self) -> None:
        """Begin groups while there is room, each once the directory knows of it, some ``GATHER_S`` apart."""
        last = 0.0
        try:
            while True:
                await self._wake.wait()
                await asyncio.sleep(last + GATHER_S - time.monotonic())
                last = time.monotonic()
                self._wake.clear()
                await self._look_at_version()
                async with self._beginning:
                    if begun := self._choose():
                        await self._save()
                    for entry in begun:
                        self._rolling[entry.id] = asyncio.create_task(self._roll(entry))
        except Exception as error:
            self._break(error)

    def _choose(self) -> list[Entry]:
        """What to begin now. Groups that were handed over before a restart are only read again: they take no room."""
        chosen: list[Entry] = [one for one in self._queue if one.cursor and one.id in self._ledger.open]
        self._queue = deque(entry for entry in self._queue if not entry.cursor)
        taken = len(self._rolling) + sum(not self._ledger.open[one].cursor for one in self._ready)
        while taken < self._service.open_groups and not self._paused:
            if self._queue:
                entry = self._queue.popleft()
            elif self._pool is not None:
                entry = self._draw(self._pool)
            else:
                break
            chosen.append(entry)
            taken += 1
        for entry in chosen:
            if entry.begun < 0:
                entry.begun = self._version
        return chosen

    def _draw(self, pool: Pool) -> Entry:
        busy = [entry.line for entry in self._ledger.open.values() if entry.source == POOL and not entry.cursor]
        return self._ledger.submit(POOL, pool.draw(self._version, busy), self._config.collect.rollouts_per_task)

    async def _roll(self, entry: Entry) -> None:
        try:
            row = await asyncio.to_thread(self._rows.row, entry.source, entry.line)
            environment = self._rows.environment(entry.source, entry.line)
            task = self._fleet.plan(row, rollouts=entry.rollouts, environment=environment, number=entry.number)
            records = await self._fleet.run_records(task)
            self._arrive(entry, f"{task.environment}/{task.task_id}", records)
        except RolloutError:
            if entry.id in self._ledger.open:
                self._ledger.fail(entry)
                self._ended.add(entry.source)
        except Exception as error:
            self._break(error)
        finally:
            del self._rolling[entry.id]
            self._notify()

    def _arrive(self, entry: Entry, task: str, records: list[bytes]) -> None:
        """A group has ended: admit it, or say why not."""
        if entry.id not in self._ledger.open:
            return  # It was acknowledged while it was being read again, after a restart.
        rollouts = [decode(record) for record in records]
        rewards = [one.reward.value for one in rollouts if one.outcome is Outcome.SCORED and one.reward is not None]
        if not entry.observed:
            entry.observed = True
            self._rates.observe(task, rewards)
        if all(one.outcome is Outcome.FAILED for one in rollouts):
            self._ledger.fail(entry)
            self._ended.add(entry.source)
        elif not entry.cursor and (reason := refusal(self._service.curriculum, rewards)):
            self._ledger.drop(entry, reason)
            self._ended.add(entry.source)
        else:
            # Tokens of other endpoints have no version: those are as old as their beginning.
            versions = policy_versions(rollouts) if self._config.model.kind == "vllm" else None
            oldest, newest = versions or (entry.begun, entry.begun)
            self._ready[entry.id] = _Ready(records, task, oldest, newest)

    def _deliverable(self, after: int, count: int) -> tuple[list[Entry], bool]:
        """Groups to hand over now, and whether more than these may come."""
        self._set_stale_aside(after)
        again = list(self._ledger.handed(after))
        if any(entry.id not in self._ready for entry in again[:count]):
            return [], True  # They are being read from the journal.
        fresh = [self._ledger.open[one] for one in self._ready if not self._ledger.open[one].cursor]
        waiting = len(self._ledger.open) - sum(entry.cursor > 0 for entry in self._ledger.open.values()) - len(fresh)
        chosen = [*again, *fresh][:count]
        return chosen, bool(waiting) or self._pool is not None or len(again) + len(fresh) > len(chosen)

    def _set_stale_aside(self, after: int) -> None:
        """Make finished groups again, or drop them, that would be too old. Not those that the trainer has."""
        bound = self._service.max_policy_age
        for id in list(self._ready) if bound is not None else ():
            entry = self._ledger.open[id]
            if self._version - self._ready[id].oldest <= (bound or 0) or 0 < entry.cursor <= after:
                continue
            del self._ready[id]
            if self._service.on_stale == "drop":
                self._ledger.drop(entry, "stale")
                self._ended.add(entry.source)
            else:
                self._ledger.reroll(entry)
                self._queue.appendleft(entry)
            self._notify()

    async def _hand_over(self, entries: list[Entry]) -> list[Handed]:
        for entry in entries:
            self._ledger.hand_over(entry)
        handed = [self._parcel(entry) for entry in entries]
        await self._save()
        self._notify()  # There is room for others now.
        return handed

    def _parcel(self, entry: Entry) -> Handed:
        ready = self._ready[entry.id]
        age, rate = max(0, self._version - ready.oldest), self._rates.rate(ready.task)
        return Handed(entry.id, entry.cursor, ready.records, ready.oldest, ready.newest, age, entry.rerolls, rate)

    def _break(self, error: Exception) -> None:
        """It cannot go on: everybody is told why."""
        told = error if isinstance(error, UserError) else UserError(f"the rollout service: {describe(error)}")
        self._error = self._error or told
        self._notify()
