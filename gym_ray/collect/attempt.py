"""One rollout, from seed to verdict: what every failure on the way becomes.

A :class:`RolloutMaker` serves one environment in one process. Its :meth:`~RolloutMaker.make` never raises
for anything that happens inside a rollout: the result is a :class:`Rollout` that is scored, masked or
failed. Only cancellation passes through.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

from gym_ray.agents.base import Agent, AgentConfig, RolloutContext
from gym_ray.models.protocol import Model
from gym_ray.resources.protocol import Resources, ResourcesSession
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage, describe
from gym_ray.types.items import input_items
from gym_ray.types.outcome import Failure, Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.trajectory import TRUNCATIONS, Trajectory


@dataclass(slots=True)
class TaskSpec:
    """One task of the plan, parsed once for all its rollouts. ``raw``: the row's JSON bytes."""

    number: int
    task_id: str
    environment: str
    raw: bytes
    row: dict[str, Any]
    params: dict[str, Any]


@dataclass(slots=True)
class Flight:
    """A rollout in the air, for the watchdog's table.

    ``rollout_id``: ``environment/task id/index``. ``since``: monotonic seconds at which ``stage`` began.
    """

    rollout_id: str
    stage: str = "seed"
    since: float = field(default_factory=time.monotonic)

    def enter(self, stage: str) -> None:
        """Note that another stage began."""
        self.stage, self.since = stage, time.monotonic()


class RolloutMaker:
    """Makes rollouts of one environment."""

    def __init__(
        self, agent: Agent, agent_name: str, config: AgentConfig, model: Model, resources: Resources, max_attempts: int
    ) -> None:
        self.resources = resources
        self.gymnasium = resources.gymnasium
        self._agent, self._agent_name, self._config = agent, agent_name, config
        self._model, self._max_attempts = model, max_attempts

    async def make(self, task: TaskSpec, index: int, flight: Flight) -> Rollout:
        """Try until there is a verdict, a terminal failure, or no attempt left."""
        attempt = 0
        while True:
            rollout = await self._attempt(task, index, attempt, flight)
            attempt += 1
            failure = rollout.failure
            if failure is None or failure.terminal or attempt >= self._max_attempts:
                return rollout
            # Spread out the second tries of all rollouts that one death interrupted.
            flight.enter("backoff")
            await asyncio.sleep(random.uniform(0, min(5.0, 0.25 * 2**attempt)))

    async def _attempt(self, task: TaskSpec, index: int, attempt: int, flight: Flight) -> Rollout:
        rollout = self.blank(task, index, attempt)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._config.rollout_timeout_s):
                await self._run(rollout, task, flight)
        except TimeoutError:
            reason = (
                f"not finished after agent.rollout_timeout_s={self._config.rollout_timeout_s:g} (in {flight.stage})"
            )
            rollout.failure = Failure(FailureKind.AGENT_TIMEOUT, Stage.AGENT, reason)
        except RolloutError as error:
            rollout.failure = Failure(error.kind, error.stage, error.reason, error.terminal)
        except Exception as error:
            rollout.failure = Failure(FailureKind.AGENT_RUN_ERROR, Stage.AGENT, describe(error))
        rollout.finished = time.time()
        rollout.timings["total"] = time.perf_counter() - began
        return rollout

    def blank(self, task: TaskSpec, index: int, attempt: int) -> Rollout:
        """The record of a rollout that has nothing yet: failed, until something better is known."""
        return Rollout(
            task.number,
            task.task_id,
            index,
            task.environment,
            self._agent_name,
            task.raw,
            task.params,
            Outcome.FAILED,
            attempt=attempt,
            started=time.time(),
        )

    async def _run(self, rollout: Rollout, task: TaskSpec, flight: Flight) -> None:
        flight.enter("seed")
        began = time.perf_counter()
        session = await self.resources.seed(task.row, flight.rollout_id)
        rollout.timings["seed"] = time.perf_counter() - began
        try:
            flight.enter("agent")
            await self.converse(rollout, task, session, flight.rollout_id)
            if not self.resources.scores_groups:
                flight.enter("verify")
                await self._verify(rollout, session)
        finally:
            await session.close()

    async def converse(self, rollout: Rollout, task: TaskSpec, session: ResourcesSession, rollout_id: str) -> None:
        """The agent's part alone: fills ``rollout.trajectory``. Raises what the agent raises."""
        rollout.trajectory = Trajectory(input_items(task.row["responses_create_params"]), model=self._model.name)
        context = RolloutContext(
            rollout_id,
            task.row,
            task.params,
            rollout.trajectory,
            self._model,
            self.resources,
            session,
            rollout.timings,
        )
        await self._agent.run(context)

    async def _verify(self, rollout: Rollout, session: ResourcesSession) -> None:
        assert rollout.trajectory is not None
        began = time.perf_counter()
        try:
            reward = await session.verify(rollout.trajectory)
        except MaskRollout as mask:
            rollout.outcome = Outcome.MASKED
            rollout.failure = Failure(mask.kind, Stage.VERIFY, mask.reason)
        else:
            self.score(rollout, reward)
        rollout.timings["verify"] = time.perf_counter() - began

    def score(self, rollout: Rollout, reward: Reward) -> None:
        """Put a verdict on a rollout, unless policy masks cut trajectories."""
        assert rollout.trajectory is not None
        rollout.reward, rollout.failure, rollout.outcome = reward, None, Outcome.SCORED
        reason = rollout.trajectory.finish_reason
        if self._config.on_truncation == "mask" and reason in TRUNCATIONS:
            rollout.outcome = Outcome.MASKED
            rollout.failure = Failure(FailureKind.TRUNCATED, Stage.AGENT, f"cut by {reason}")
