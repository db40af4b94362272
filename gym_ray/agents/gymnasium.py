"""The gymnasium loop: observe, act, step, until the environment ends the episode."""

from __future__ import annotations

import time

from gym_ray.agents.base import Agent, RolloutContext
from gym_ray.agents.conversation import CUT, Conversation
from gym_ray.resources.gymnasium import StepResult
from gym_ray.types.items import function_call_output, user_message
from gym_ray.types.trajectory import FinishReason


class GymnasiumLoop(Agent):
    """One model call per step; the environment, not the model, says when the episode is over."""

    async def run(self, context: RolloutContext) -> None:
        """See :class:`Agent`."""
        conversation = Conversation(context, self.config)
        trajectory = context.trajectory
        if context.session.observation is not None:
            conversation.add(user_message(context.session.observation))
        while True:
            reply = await conversation.ask()
            if reply.finish_reason in CUT:
                trajectory.finish_reason = reply.finish_reason
                return
            began = time.perf_counter()
            result = await context.session.step(reply.items)
            context.timings["tools"] = context.timings.get("tools", 0.0) + time.perf_counter() - began
            trajectory.step_rewards.append(result.reward)
            _show(conversation, result)
            end = _end_of(result) or conversation.stopped_by(reply)
            if end is None and not conversation.turns_left:
                end = FinishReason.MAX_TURNS
            if end is not None:
                trajectory.finish_reason = end
                return


def _show(conversation: Conversation, result: StepResult) -> None:
    for call_id, output in result.tool_outputs.items():
        conversation.add(function_call_output(call_id, output))
    if result.observation is not None:
        conversation.add(user_message(result.observation))


def _end_of(result: StepResult) -> FinishReason | None:
    if result.terminated:
        return FinishReason.TERMINATED
    return FinishReason.TRUNCATED if result.truncated else None
