"""The tool loop: ask, run what was called, answer, until the model has nothing more to call."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from gym_ray.agents.base import Agent, RolloutContext
from gym_ray.agents.conversation import CUT, Conversation
from gym_ray.types.items import Item, function_call_output, function_calls
from gym_ray.types.trajectory import FinishReason


class ToolLoop(Agent):
    """Calls of one turn run together (or in order, with ``parallel_tool_calls=false``).

    What the model gets wrong is answered to the model: arguments that are no JSON object here, an unknown tool
    or one that raised by the environment. Tools of the last allowed turn still run, because the verifier may look
    at what they changed.
    """

    async def run(self, context: RolloutContext) -> None:
        """See :class:`Agent`."""
        conversation = Conversation(context, self.config)
        trajectory = context.trajectory
        while True:
            reply = await conversation.ask()
            stop = conversation.stopped_by(reply)
            calls = function_calls(reply.items)
            if not calls or reply.finish_reason in CUT:
                trajectory.finish_reason = stop or FinishReason.STOP
                return
            await self._answer(context, conversation, calls)
            if stop is not None or not conversation.turns_left:
                trajectory.finish_reason = stop or FinishReason.MAX_TURNS
                return

    async def _answer(self, context: RolloutContext, conversation: Conversation, calls: list[Item]) -> None:
        began = time.perf_counter()
        if self.config.parallel_tool_calls and len(calls) > 1:
            outputs = await asyncio.gather(*(self._call(context, call) for call in calls))
        else:
            outputs = [await self._call(context, call) for call in calls]
        context.timings["tools"] = context.timings.get("tools", 0.0) + time.perf_counter() - began
        for call, output in zip(calls, outputs, strict=True):
            conversation.add(function_call_output(call["call_id"], output))

    async def _call(self, context: RolloutContext, call: Item) -> str:
        arguments = _parse(call.get("arguments") or "{}")
        if arguments is None:
            return _error(f"the arguments of {call['name']!r} are not a JSON object")
        return self._cut(await context.session.call_tool(call["name"], arguments))

    def _cut(self, output: str) -> str:
        limit = self.config.max_tool_output_chars
        if len(output) <= limit:
            return output
        return f"{output[:limit]}\n[cut: {len(output) - limit} more characters]"


def _parse(arguments: str) -> dict[str, Any] | None:
    # The standard parser, not orjson: what a model samples may hold lone surrogates and huge integers.
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _error(text: str) -> str:
    return json.dumps({"error": text})
