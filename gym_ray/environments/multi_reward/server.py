"""One function call, three rewards: is it the right one, does it fit its schema, is it all that was said.

The parts are kept apart in ``reward_components`` (for GDPO and other multi-objective training) and add up to the
reward, 0.0 to 3.0. Only the first turn counts, whatever a tool loop lets the model say after the call.
"""

from __future__ import annotations

from typing import Any

from gym_ray.environments.calls import arguments_of, compared, first_calls, first_turn
from gym_ray.environments.xlam_fc.server import ExpectedCall, fits
from gym_ray.resources.server import ResourcesServer, Session, tool
from gym_ray.types.items import Item, is_assistant_message, item_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory


class MultiReward(ResourcesServer):
    """One function call, graded on correctness, schema and form."""

    pure = True
    expose_tools = False

    class Task(TaskRow):
        """A request that one function call answers, in NeMo Gym's layout. The row lists its tools."""

        expected_call: ExpectedCall
        """The call."""

    @tool
    async def get_weather(self, session: Session, city: str) -> dict[str, str]:
        """The weather of a city."""
        return {"city": city, "weather_description": f"It is sunny in {city}."}

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """The sum of three parts, each 0.0 or 1.0: ``correctness``, ``schema_valid``, ``format``. They are the
        reward's components, and repeated in ``extra`` beside ``predicted_calls``."""
        made = first_calls(trajectory.items)
        given = [(call.get("name", ""), arguments_of(call)) for call in compared(made)]
        parts = {
            "correctness": float(any(fits(task.expected_call, name, values) for name, values in given)),
            "schema_valid": float(bool(given) and _has_required(*given[0], task.responses_create_params)),
            "format": float(len(made) == 1 and not _speaks(trajectory.items)),
        }
        calls = [{"name": name, "arguments": values or {}} for name, values in given]
        return Reward(sum(parts.values()), components=parts, extra=parts | {"predicted_calls": calls})


def _has_required(name: str, values: dict[str, Any] | None, params: dict[str, Any]) -> bool:
    """True when the arguments are an object with all parameters that the row's definition of the tool requires."""
    definition = next((tool for tool in params.get("tools") or () if tool.get("name") == name), None)
    if values is None or definition is None:
        return False
    return all(required in values for required in (definition.get("parameters") or {}).get("required") or ())


def _speaks(items: list[Item]) -> bool:
    """True when the first turn has text for the reader beside its calls."""
    return any(is_assistant_message(item) and item_text(item).strip() for item in first_turn(items))
