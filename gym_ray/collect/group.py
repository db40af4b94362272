"""The group stage: verification that needs all rollouts of a task together.

Generated rollouts are durable before they are judged (kind ``GENERATED``), so a death between the two costs
no generation. The stage fires when the group is complete, or ``collect.group_deadline_s`` after its first
finished rollout; members that come later are masked as ``cohort_incomplete``, never judged against a
smaller group in secret.

A verdict is journalled like a rollout's start, under the group's first member, so that a verifier that kills its
process is found out and given up (``worker``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from gym_ray.collect.attempt import RolloutMaker, TaskSpec
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage, describe
from gym_ray.types.outcome import Failure, Outcome
from gym_ray.types.rollout import Rollout


async def settle_group(
    members: Sequence[Coroutine[Any, Any, Rollout | None]],
    deadline_s: float | None,
    settle: Callable[[list[Rollout]], Awaitable[None]],
    finish: Callable[[Rollout], None],
) -> int:
    """Await all members, ``settle`` the group once, hand those that came late to ``finish``; returns how many.

    A member that is None was not begun (the run is stopping). Such a group is left unjudged: what it
    generated is in the journal, and a resumed run judges it whole.
    """
    tasks = [asyncio.ensure_future(member) for member in members]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait(tasks, timeout=deadline_s)
    ended = [member.result() for member in tasks if member.done()]
    waiting = [member for member in tasks if not member.done()]
    group = [rollout for rollout in ended if rollout is not None]
    if len(group) < len(ended):
        await asyncio.gather(*waiting)
        return 0
    group.sort(key=lambda rollout: rollout.rollout_index)
    await settle(group)
    late = [rollout for rollout in await asyncio.gather(*waiting) if rollout is not None]
    for rollout in late:
        finish(_late(rollout, deadline_s))
    return len(group) + len(late)


def judgeable(rollouts: list[Rollout]) -> list[Rollout]:
    """Those with a trajectory; failed members stay as they are."""
    return [rollout for rollout in rollouts if rollout.failure is None and rollout.trajectory is not None]


async def judge(maker: RolloutMaker, task: TaskSpec, able: list[Rollout]) -> None:
    """Put the group's verdict on its ``able`` members."""
    trajectories = [rollout.trajectory for rollout in able if rollout.trajectory is not None]
    try:
        rewards = await maker.resources.verify_group(task.row, trajectories)
    except (MaskRollout, RolloutError) as error:
        mask(able, Failure(error.kind, Stage.GROUP, error.reason))
    except Exception as error:
        mask(able, Failure(FailureKind.VERIFIER_ERROR, Stage.GROUP, describe(error)))
    else:
        for rollout, reward in zip(able, rewards, strict=True):
            if isinstance(reward, MaskRollout):
                mask([rollout], Failure(reward.kind, Stage.GROUP, reward.reason))
            else:
                maker.score(rollout, reward)


def mask(rollouts: list[Rollout], failure: Failure) -> None:
    """Keep them, and say why there is no verdict."""
    for rollout in rollouts:
        rollout.outcome, rollout.failure = Outcome.MASKED, failure


def _late(rollout: Rollout, deadline_s: float | None) -> Rollout:
    if rollout.failure is None:
        reason = f"finished more than collect.group_deadline_s={deadline_s:g} after its group's first rollout"
        mask([rollout], Failure(FailureKind.COHORT_INCOMPLETE, Stage.GROUP, reason))
    return rollout
