"""The Agent Trajectory Interchange Format, version 1.7: one document per rollout, one document per line.

Reasoning has a field of its own there; a tool's answer stands with the step that called it. Source: the ATIF
schema as NeMo Gym 0.7 publishes it (nemo_gym/atif_v1_7.py).
"""

from __future__ import annotations

from gym_ray import __version__
from gym_ray.export.conversation import Conversation, Json, Unfit, conversation
from gym_ray.export.settings import ExportSettings
from gym_ray.runs.rollouts import StoredRollout

_SOURCES = {"system": "system", "developer": "system", "user": "user", "assistant": "agent"}


def atif(rollout: StoredRollout, settings: ExportSettings) -> list[Json]:
    """The rollout's document."""
    place = "drop" if settings.reasoning == "drop" else "field"
    said = conversation(rollout, settings.model_copy(update={"reasoning": place}))
    steps = _steps(said)
    facts = ("task_id", "task_number", "environment", "outcome", "reward", "finish_reason")
    totals = {f"total_{name}": rollout.usage[name] for name in sorted(rollout.usage) if name in _TOTALS}
    return [
        {
            "schema_version": "ATIF-v1.7",
            "trajectory_id": f"{rollout.task_id}:{rollout.index}",
            "agent": {
                "name": "gym_ray",
                "version": __version__,
                "model_name": rollout.model or None,
                "tool_definitions": said.tools or None,
            },
            "steps": steps,
            "final_metrics": {**totals, "total_steps": len(steps)},
            "extra": {"rollout_index": rollout.index, **{name: getattr(rollout, name) for name in facts}},
        }
    ]


_TOTALS = ("prompt_tokens", "completion_tokens")


def _steps(said: Conversation) -> list[Json]:
    steps: list[Json] = []
    for message in said.messages:
        content = message["content"] or ""
        if not isinstance(content, str):
            raise Unfit("content in parts (images, files, refusals)")
        if message["role"] == "tool":
            _observe(steps, message["tool_call_id"], content)
        elif message["role"] in _SOURCES:
            steps.append(_step(len(steps) + 1, message, content))
        else:
            raise Unfit("a message of a role that ATIF has no source for")
    return steps


def _step(number: int, message: Json, content: str) -> Json:
    step: Json = {"step_id": number, "source": _SOURCES[message["role"]], "message": content}
    if "reasoning_content" in message:
        step["reasoning_content"] = message["reasoning_content"]
    if "tool_calls" in message:
        step["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    return step


def _call(call: Json) -> Json:
    function = call["function"]
    if not isinstance(function["arguments"], dict):
        raise Unfit("arguments of a tool call that are no JSON object")
    return {"tool_call_id": call["id"], "function_name": function["name"], "arguments": function["arguments"]}


def _observe(steps: list[Json], call_id: str, content: str) -> None:
    """Put a tool's answer to the step that called it."""
    called = {call["tool_call_id"] for call in steps[-1].get("tool_calls", ())} if steps else set()
    if call_id not in called:
        raise Unfit("a tool's answer that does not follow its call")
    results = steps[-1].setdefault("observation", {"results": []})["results"]
    results.append({"source_call_id": call_id, "content": content})
