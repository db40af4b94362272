"""Rollouts of an earlier run, verified again: its trajectories in place of a model's answers.

Invariants: a trajectory is never changed, only its verdict (and a gymnasium-style one's step rewards). What used
its session then uses it again now, by the same agent: the tools that were called are called, the steps taken are
taken, with the recording in the model's place. If anything answers otherwise than recorded, the rollout is masked
as ``replay_diverged``: a verdict on a session that is not the recorded one would be invented. What failed before
there was anything to verify stays as it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from gym_ray.agents.base import Agent, AgentConfig
from gym_ray.collect.attempt import Flight, RolloutMaker, TaskSpec
from gym_ray.collect.journal.index import scan
from gym_ray.collect.journal.record import decode
from gym_ray.collect.rundir import RunDir
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.resources.protocol import Resources, ResourcesSession
from gym_ray.types.errors import FailureKind, Stage
from gym_ray.types.items import Item, function_calls
from gym_ray.types.outcome import Failure, Outcome
from gym_ray.types.rollout import Rollout
from gym_ray.types.trajectory import Trajectory

_OF_VERIFIER = frozenset({Stage.VERIFY, Stage.GROUP})


class _Ended(Exception):
    """The recording has no further turn."""


class Recording:
    """An earlier run's rollouts, and the model (``models.protocol``) that says again what they say.

    Memory: 33 bytes per rollout.
    """

    name = "recorded"

    def __init__(self, run: str) -> None:
        self._index = scan(RunDir(run))
        self._playing: dict[str, deque[ModelReply]] = {}

    def has(self, task: int, index: int) -> bool:
        """Whether the run has a verdict on this rollout."""
        return self._index.is_done(task, index)

    def rollout(self, task: int, index: int) -> Rollout:
        """One that it has. Raises UserError when its record is damaged."""
        payload = self._index.payload(task, index)
        assert payload is not None
        return decode(payload)

    def play(self, rollout_id: str, trajectory: Trajectory) -> None:
        """Have ``trajectory``'s turns as the answers to ``rollout_id``, from the first on."""
        self._playing[rollout_id] = deque(_replies(trajectory))

    def stop(self, rollout_id: str) -> bool:
        """Forget them. True when all were asked for."""
        return not self._playing.pop(rollout_id)

    async def respond(self, request: ModelRequest) -> ModelReply:
        """See ``Model``."""
        replies = self._playing[request.session]
        if not replies:
            raise _Ended
        return replies.popleft()

    async def close(self) -> None:
        """See ``Model``."""


class RecordedMaker(RolloutMaker):
    """Makes an environment's rollouts again from a recording."""

    def __init__(
        self,
        recording: Recording,
        agent: Agent,
        agent_name: str,
        config: AgentConfig,
        resources: Resources,
        max_attempts: int,
    ) -> None:
        super().__init__(agent, agent_name, config, recording, resources, max_attempts)
        self._recording = recording

    async def make(self, task: TaskSpec, index: int, flight: Flight) -> Rollout:
        """The recorded rollout with a verdict of today; when it was made, and how long that took, stay."""
        recorded = self._recording.rollout(task.number, index)
        failure = recorded.failure
        if recorded.trajectory is None or (recorded.outcome is Outcome.FAILED and not _came_to_verify(failure)):
            return recorded
        rollout = await super().make(task, index, flight)
        rollout.attempt, rollout.started, rollout.finished = recorded.attempt, recorded.started, recorded.finished
        its = {name: rollout.timings[name] for name in ("verify",) if name in rollout.timings}
        rollout.timings = {**recorded.timings, **its}
        return rollout

    def blank(self, task: TaskSpec, index: int, attempt: int) -> Rollout:
        """See ``RolloutMaker``: with its trajectory, without its verdict."""
        rollout = self._recording.rollout(task.number, index)
        rollout.outcome, rollout.reward, rollout.failure, rollout.timings = Outcome.FAILED, None, None, {}
        return rollout

    async def converse(self, rollout: Rollout, task: TaskSpec, session: ResourcesSession, rollout_id: str) -> None:
        """Bring the session to where the recorded one was; masks the rollout when that fails."""
        recorded = rollout.trajectory
        assert recorded is not None
        if not _used_session(recorded):
            return
        self._recording.play(rollout_id, recorded)
        whole = False
        try:
            await super().converse(rollout, task, session, rollout_id)
        except _Ended:
            pass
        finally:
            whole = self._recording.stop(rollout_id)
            found, rollout.trajectory = rollout.trajectory, recorded
        assert found is not None
        if whole and found.items == recorded.items:
            recorded.step_rewards = found.step_rewards
        else:
            rollout.outcome = Outcome.MASKED
            rollout.failure = Failure(FailureKind.REPLAY_DIVERGED, Stage.AGENT, _difference(recorded, found))

    async def _verify(self, rollout: Rollout, session: ResourcesSession) -> None:
        if rollout.outcome is not Outcome.MASKED:
            await super()._verify(rollout, session)


def _came_to_verify(failure: Failure | None) -> bool:
    return failure is not None and failure.stage in _OF_VERIFIER


def _used_session(trajectory: Trajectory) -> bool:
    """Whether tools or steps may have changed the session that the verifier sees."""
    return bool(trajectory.step_rewards) or any(item.get("type") == "function_call_output" for item in trajectory.items)


def _replies(trajectory: Trajectory) -> Iterator[ModelReply]:
    """The model's turns: up to each turn's last item, less what tools and steps said before it."""
    begin = 0
    for turn in trajectory.turns:
        said = trajectory.items[begin : turn.last_item + 1]
        begin = turn.last_item + 1
        yield ModelReply([item for item in said if not _is_answer(item)], turn.finish_reason, turn.usage, turn.tokens)


def _is_answer(item: Item) -> bool:
    return item.get("type") == "function_call_output" or item.get("role") == "user"


def _difference(recorded: Trajectory, found: Trajectory) -> str:
    """Where a replay parted from its recording, for a person."""
    pairs = enumerate(zip(recorded.items, found.items, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), min(len(recorded.items), len(found.items)))
    calls = function_calls(recorded.items[:at])
    after = f"after call {len(calls)} ({calls[-1].get('name')})" if calls else "at the beginning"
    return f"run again for its verdict, the session answered otherwise than recorded: item {at}, {after}"
