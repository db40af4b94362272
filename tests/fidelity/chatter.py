"""An environment that keeps any model talking: three turns, whatever it says, its calls answered."""

from __future__ import annotations

from typing import Any

from gym_ray import GymnasiumServer, StepResult
from gym_ray.types.items import Item, function_calls

TURNS = 3


class Chatter(GymnasiumServer):
    """Step one and two answer with text that tempts a tokenizer to merge what it must not."""

    pure = True

    async def step(self, task: Any, action: list[Item], session: dict[str, Any]) -> StepResult:
        session["steps"] = session.get("steps", 0) + 1
        outputs = {call["call_id"]: f"\n{session['steps']} " for call in function_calls(action)}
        last = session["steps"] == TURNS
        return StepResult(None if last else "\n and then? ", terminated=last, tool_outputs=outputs)
