"""One environment, served inside this process: what an actor wraps, and what inline placement uses as it is.

A :class:`Host` is a ``Resources``. Whatever the author's code does becomes one of the typed outcomes below,
and nothing it does delays another session, unless it blocks the event loop:

======================  ==============================================================
``seed``, ``reset``     ``seed_error``; a deadline is not terminal
a tool                  text for the model (``toolbox``)
``step``                ``step_error``; a deadline is not terminal
``verify``, ``review``  a Reward, or ``MaskRollout`` (``verdict``, ``verify_pool``)
``close``               logged
======================  ==============================================================

A ``RolloutError`` that the author raises passes through everywhere. A host lives on one event loop.
"""

from __future__ import annotations

import logging
from typing import Any

from pydantic import ValidationError

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.deadline import DeadlineExceeded, within
from gym_ray.resources.gymnasium import GymnasiumServer, StepResult
from gym_ray.resources.judge import Judge, Judges, JudgeUsage, judge_names, metered
from gym_ray.resources.load import make_server
from gym_ray.resources.rows import ParsedRow, RowCache
from gym_ray.resources.server import Session
from gym_ray.resources.sessions import HostSession, SessionTable
from gym_ray.resources.toolbox import Toolbox
from gym_ray.resources.verdict import judged, reward_of, rewards_of
from gym_ray.resources.verify_pool import VerifyPool
from gym_ray.resources.wire import pack
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage, describe
from gym_ray.types.items import Item
from gym_ray.types.outcome import Reward
from gym_ray.types.trajectory import Trajectory
from gym_ray.types.validation import explain

log = logging.getLogger(__name__)


class Host:
    """Serves ``config.server``, which may ask ``judges``. Made anywhere; used on one event loop only.

    Raises:
        UserError: the class cannot be loaded or made, or a judge that it asks is missing.
    """

    def __init__(self, name: str, config: EnvironmentConfig, judges: Judges | None = None) -> None:
        server = make_server(config)
        self.name, self.server = name, server
        self.seed_timeout_s = _first(config.seed_timeout_s, server.seed_timeout_s)
        self.tool_timeout_s = _first(config.tool_timeout_s, server.tool_timeout_s)
        self.verify_timeout_s = _first(config.verify_timeout_s, server.verify_timeout_s)
        self.review_timeout_s = _first(config.review_timeout_s, server.review_timeout_s) if server.reviews() else 0.0
        self._judges, self._judge_names = judges, judge_names(name, server.roles(config.options), config.judge, judges)
        self.toolbox = Toolbox(server, self.tool_timeout_s)
        self.tools = self.toolbox.definitions if server.expose_tools else []
        self.gymnasium = isinstance(server, GymnasiumServer) and server.stepwise
        self.scores_groups = server.scores_groups()
        self.sessions = SessionTable(server, config.max_sessions, config.session_ttl_s, self.tool_timeout_s)
        self.rows = RowCache(self._parse)
        self._pool = VerifyPool(config, self.verify_timeout_s) if server.cpu_bound else None
        self._started = False

    def start(self) -> None:
        """Warm up: start the verify workers, open the judges. Call it on the event loop; :meth:`seed` does so too."""
        if not self._started:
            self._started = True
            if self._judges is not None:
                opened = {name: Judge(name, self._judges.open(name)) for name in set(self._judge_names.values())}
                self.server.judges = {role: opened[name] for role, name in self._judge_names.items()}
            if self._pool is not None:
                self._pool.start()

    async def seed(self, task: dict[str, Any], rollout_id: str) -> HostSession:
        """Open a session.

        Raises:
            RolloutError: ``bad_task``, ``seed_error``.
        """
        self.start()
        row = self.rows(task)
        await self.sessions.reserve()
        try:
            state, observation = await self._opened(row.task)
        except BaseException:
            self.sessions.give_up()
            raise
        session = HostSession(self, row, state, observation, JudgeUsage() if self._judge_names else None)
        self.sessions.add(session)
        return session

    async def step(self, session: HostSession, action: list[Item]) -> StepResult:
        """One action of ``session``."""
        if not isinstance(self.server, GymnasiumServer):
            reason = f"{type(self.server).__name__} is not step-wise"
            raise RolloutError(FailureKind.STEP_ERROR, Stage.TOOL, reason)
        work = self.server.step(session.row.task, action, session.state)
        try:
            result = await within(self.tool_timeout_s, work)
            result.reward = float(result.reward)
            return result
        except RolloutError:
            raise
        except DeadlineExceeded:
            reason = f"step did not end within {self.tool_timeout_s:g} s"
            raise RolloutError(FailureKind.STEP_ERROR, Stage.TOOL, reason, terminal=False) from None
        except (Exception, SystemExit) as error:
            raise RolloutError(FailureKind.STEP_ERROR, Stage.TOOL, describe(error)) from error

    async def verify(self, session: HostSession, trajectory: Trajectory) -> Reward:
        """The verdict on ``session``."""
        reward = await self._verdict(session, trajectory)
        if self.review_timeout_s:
            work = self.server.review(session.row.task, trajectory, session.state, reward)
            reward = reward_of(await judged(work, self.review_timeout_s))
        if session.judged is not None:
            reward.extra.setdefault("judge_usage", session.judged.record())
        return reward

    async def _verdict(self, session: HostSession, trajectory: Trajectory) -> Reward:
        if self._pool is not None:
            packed = pack(trajectory, tokens=self.server.needs_tokens)
            reward: Reward = await self._pool.run((session.row.raw, packed, session.state))
            return reward
        work = self.server.verify(session.row.task, trajectory, session.state)
        return reward_of(await judged(work, self.verify_timeout_s))

    async def verify_group(self, task: dict[str, Any], trajectories: list[Trajectory]) -> list[Reward | MaskRollout]:
        """The verdicts on a whole group, in order."""
        self.start()
        row = self.rows(task)
        if self._pool is not None:
            packed = [pack(trajectory, tokens=self.server.needs_tokens) for trajectory in trajectories]
            rewards: list[Reward | MaskRollout] = await self._pool.run((row.raw, packed, None))
            return rewards
        usage = JudgeUsage()
        with metered(usage):
            work = self.server.verify_group(row.task, trajectories)
            rewards = rewards_of(await judged(work, self.verify_timeout_s), len(trajectories))
        if self._judge_names:
            for reward in (one for one in rewards if isinstance(one, Reward)):
                reward.extra.setdefault("judge_usage", usage.record(len(rewards)))
        return rewards

    async def aclose(self) -> None:
        """Close every session and end the verify workers."""
        await self.sessions.aclose()
        try:
            await within(self.tool_timeout_s, self.server.shutdown())
        except (Exception, SystemExit) as error:
            log.warning("%s.shutdown: %s", type(self.server).__name__, describe(error))
        for judge in set(self.server.judges.values()):
            await judge.close()
        if self._pool is not None:
            await self._pool.close()

    def _parse(self, row: dict[str, Any]) -> ParsedRow:
        try:
            return ParsedRow(row, self.server.Task.model_validate(row))
        except ValidationError as error:
            reason = f"the row does not fit {self.server.Task.__name__}: {'; '.join(explain(error))}"
            raise RolloutError(FailureKind.BAD_TASK, Stage.TASK, reason) from None

    async def _opened(self, task: Any) -> tuple[Session, str | None]:
        try:
            return await within(self.seed_timeout_s, self._open(task))
        except RolloutError:
            raise
        except DeadlineExceeded:
            reason = f"seed did not end within {self.seed_timeout_s:g} s"
            raise RolloutError(FailureKind.SEED_ERROR, Stage.SEED, reason, terminal=False) from None
        except (Exception, SystemExit) as error:
            raise RolloutError(FailureKind.SEED_ERROR, Stage.SEED, describe(error)) from error

    async def _open(self, task: Any) -> tuple[Session, str | None]:
        state = await self.server.seed(task)
        if not isinstance(self.server, GymnasiumServer):
            return state, None
        try:
            return state, await self.server.reset(task, state)
        except BaseException:
            await self.sessions.close_state(state)
            raise


def _first(chosen: float | None, default: float) -> float:
    return default if chosen is None else chosen
