"""One rollout: what every failure on the way becomes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gym_ray.agents.base import AgentConfig
from gym_ray.agents.load import make_agent
from gym_ray.collect.attempt import Flight, RolloutMaker, TaskSpec
from gym_ray.collect.group import judge, judgeable, settle_group
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage
from gym_ray.types.items import assistant_message
from gym_ray.types.outcome import Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.trajectory import FinishReason, Trajectory, Usage
from tests.agents.scripted import MemoryResources, ScriptedModel

ROW = {"responses_create_params": {"input": "go"}}
TASK = TaskSpec(7, "t", "env", b"{}", ROW, {})


def answer(request: ModelRequest) -> ModelReply:
    return ModelReply([assistant_message("hi")], FinishReason.STOP, Usage(3, 2))


def maker(
    resources: MemoryResources, model: Callable[[ModelRequest], ModelReply] = answer, **config: Any
) -> RolloutMaker:
    settings = AgentConfig(**config)
    agent = make_agent(settings, gymnasium=False)
    return RolloutMaker(agent, "tool_loop", settings, ScriptedModel(model), resources, max_attempts=3)


async def make(resources: MemoryResources, **options: Any) -> Rollout:
    return await maker(resources, **options).make(TASK, 0, Flight("t-0"))


async def test_a_scored_rollout() -> None:
    resources = MemoryResources()
    rollout = await make(resources)
    assert (rollout.outcome, rollout.reward, rollout.failure) == (Outcome.SCORED, Reward(1.0), None)
    assert set(rollout.timings) == {"seed", "model", "verify", "total"}
    assert resources.closed == 1


class LosesSessions(MemoryResources):
    """The first ``times`` verifications find their host dead."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def verify(self, trajectory: Trajectory) -> Reward:
        self.times -= 1
        if self.times >= 0:
            raise RolloutError(FailureKind.SESSION_LOST, Stage.VERIFY, "host died", terminal=False)
        return Reward(0.5)


async def test_a_lost_session_starts_over() -> None:
    resources = LosesSessions(2)
    rollout = await make(resources)
    assert (rollout.outcome, rollout.attempt) == (Outcome.SCORED, 2)
    assert resources.closed == 3
    assert rollout.trajectory is not None
    assert len(rollout.trajectory.turns) == 1  # nothing of the lost attempts is left in it


async def test_attempts_are_bounded() -> None:
    rollout = await make(LosesSessions(100))
    assert rollout.outcome is Outcome.FAILED
    assert rollout.failure is not None
    assert (rollout.failure.kind, rollout.attempt) == (FailureKind.SESSION_LOST, 2)


async def test_a_verifier_that_cannot_judge_masks() -> None:
    class Unsure(MemoryResources):
        async def verify(self, trajectory: Trajectory) -> Reward:
            raise MaskRollout(FailureKind.JUDGE_FAILED, "no answer")

    rollout = await make(Unsure())
    assert (rollout.outcome, rollout.reward) == (Outcome.MASKED, None)
    assert rollout.failure is not None
    assert rollout.failure.kind == FailureKind.JUDGE_FAILED


async def test_a_rollout_that_outlives_its_deadline_keeps_what_was_done() -> None:
    class Stuck(MemoryResources):
        async def verify(self, trajectory: Trajectory) -> Reward:
            await asyncio.sleep(60)
            raise AssertionError

    rollout = await make(Stuck(), rollout_timeout_s=0.1)
    assert rollout.failure is not None
    assert rollout.failure.kind == FailureKind.AGENT_TIMEOUT
    assert "(in verify)" in rollout.failure.reason
    assert rollout.trajectory is not None
    assert rollout.trajectory.text == "hi"


async def test_a_broken_agent_or_model_costs_one_rollout() -> None:
    def broken(request: ModelRequest) -> ModelReply:
        raise KeyError("surprise")

    rollout = await make(MemoryResources(), model=broken)
    assert rollout.failure is not None
    assert rollout.failure.kind == FailureKind.AGENT_RUN_ERROR
    assert rollout.failure.reason == "KeyError: 'surprise'"


async def test_truncation_is_scored_or_masked_by_policy() -> None:
    def cut(request: ModelRequest) -> ModelReply:
        return ModelReply([assistant_message("hal")], FinishReason.LENGTH, Usage(3, 2))

    assert (await make(MemoryResources(), model=cut)).outcome is Outcome.SCORED
    masked = await make(MemoryResources(), model=cut, on_truncation="mask")
    assert (masked.outcome, masked.reward) == (Outcome.MASKED, Reward(1.0))
    assert masked.failure is not None
    assert masked.failure.kind == FailureKind.TRUNCATED


class Ranks(MemoryResources):
    """A group verifier: later members get higher rewards."""

    scores_groups = True

    async def verify_group(self, task: dict[str, Any], trajectories: list[Trajectory]) -> list[Reward | MaskRollout]:
        self.group = len(trajectories)
        return [Reward(float(rank)) for rank in range(len(trajectories))]


def settler(made: RolloutMaker, finished: list[Rollout]) -> Callable[[list[Rollout]], Awaitable[None]]:
    async def settle(group: list[Rollout]) -> None:
        if able := judgeable(group):
            await judge(made, TASK, able)
        finished.extend(group)

    return settle


async def settle(resources: MemoryResources, delays: list[float], deadline_s: float | None) -> list[Rollout]:
    made = maker(resources)
    finished: list[Rollout] = []

    async def member(index: int, delay: float) -> Rollout:
        await asyncio.sleep(delay)
        return await made.make(TASK, index, Flight(f"t-{index}"))

    members = [member(index, delay) for index, delay in enumerate(delays)]
    assert await settle_group(members, deadline_s, settler(made, finished), finished.append) == len(delays)
    return sorted(finished, key=lambda rollout: rollout.rollout_index)


async def test_a_group_is_judged_once_and_whole() -> None:
    resources = Ranks()
    group = await settle(resources, [0.05, 0.0, 0.02], None)
    assert [rollout.reward for rollout in group] == [Reward(0.0), Reward(1.0), Reward(2.0)]
    assert resources.group == 3


async def test_a_straggler_is_masked_not_judged_in_secret() -> None:
    resources = Ranks()
    group = await settle(resources, [0.0, 0.4, 0.0], 0.1)
    assert [rollout.outcome for rollout in group] == [Outcome.SCORED, Outcome.MASKED, Outcome.SCORED]
    assert group[1].failure is not None
    assert group[1].failure.kind == FailureKind.COHORT_INCOMPLETE
    assert resources.group == 2


async def test_one_member_may_be_masked_alone() -> None:
    class Spares(Ranks):
        async def verify_group(
            self, task: dict[str, Any], trajectories: list[Trajectory]
        ) -> list[Reward | MaskRollout]:
            return [Reward(1.0), MaskRollout(FailureKind.JUDGE_FAILED, "away")]

    scored, masked = await settle(Spares(), [0.0, 0.0], None)
    assert (scored.outcome, scored.failure) == (Outcome.SCORED, None)
    assert (masked.outcome, masked.reward) == (Outcome.MASKED, None)
    assert masked.failure is not None
    assert (masked.failure.kind, masked.failure.stage) == (FailureKind.JUDGE_FAILED, Stage.GROUP)


async def test_a_group_verifier_that_raises_masks_the_group() -> None:
    class Raises(Ranks):
        async def verify_group(self, task: dict[str, Any], trajectories: list[Trajectory]) -> list[Reward]:
            raise ZeroDivisionError("no pairs")

    group = await settle(Raises(), [0.0, 0.0], None)
    assert {rollout.outcome for rollout in group} == {Outcome.MASKED}
    assert group[0].failure is not None
    assert group[0].failure.reason == "ZeroDivisionError: no pairs"


@pytest.mark.parametrize("count", [1, 5])
async def test_a_group_of_failures_is_not_judged(count: int) -> None:
    def broken(request: ModelRequest) -> ModelReply:
        raise RolloutError(FailureKind.MODEL_REJECTED_REQUEST, Stage.MODEL, "no")

    resources = Ranks()
    made = maker(resources, model=broken)
    finished: list[Rollout] = []
    members = [made.make(TASK, index, Flight(f"t-{index}")) for index in range(count)]
    await settle_group(members, None, settler(made, finished), finished.append)
    assert [rollout.outcome for rollout in finished] == [Outcome.FAILED] * count
    assert not hasattr(resources, "group")
