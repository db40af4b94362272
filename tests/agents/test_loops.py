"""Agent loops: what ends them, what the model is told, what the trajectory keeps."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gym_ray.agents.base import AgentConfig
from gym_ray.agents.gymnasium import GymnasiumLoop
from gym_ray.agents.load import make_agent
from gym_ray.agents.tool_loop import ToolLoop
from gym_ray.models.protocol import ModelReply
from gym_ray.resources.gymnasium import StepResult
from gym_ray.types.errors import FailureKind, RolloutError, UserError
from gym_ray.types.items import assistant_message, function_call
from gym_ray.types.tokens import TurnTokens, segments_of
from gym_ray.types.trajectory import FinishReason, Usage
from tests.agents.scripted import MemoryResources, ScriptedModel, context_of


def said(text: str, reason: FinishReason = FinishReason.STOP, tokens: int = 1) -> ModelReply:
    return ModelReply([assistant_message(text)], reason, Usage(1, tokens))


def called(*calls: tuple[str, str], tokens: int = 1) -> ModelReply:
    items = [function_call(name, arguments, f"c{number}") for number, (name, arguments) in enumerate(calls)]
    return ModelReply(items, FinishReason.TOOL_CALLS, Usage(1, tokens))


async def loop(model: ScriptedModel, resources: MemoryResources, params: dict[str, Any] | None = None, **config: Any):
    context = context_of(model, resources, **(params or {}))
    await ToolLoop(AgentConfig(**config)).run(context)
    return context.trajectory


async def test_calls_tools_until_the_model_answers() -> None:
    model = ScriptedModel([called(("add", '{"a": 2, "b": 3}')), said("5")])
    trajectory = await loop(model, MemoryResources({"add": lambda a, b: a + b}))
    assert trajectory.text == "5"
    assert trajectory.finish_reason is FinishReason.STOP
    assert [item["type"] for item in trajectory.items] == ["function_call", "function_call_output", "message"]
    assert trajectory.items[1] == {"type": "function_call_output", "call_id": "c0", "output": "5"}
    assert [turn.last_item for turn in trajectory.turns] == [0, 2]
    assert model.requests[1].items[1:] == trajectory.items[:2]


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"', "[" * 100_000])
async def test_malformed_arguments_are_answered(arguments: str) -> None:
    trajectory = await loop(ScriptedModel([called(("add", arguments)), said("sorry")]), MemoryResources({"add": print}))
    assert "not a JSON object" in json.loads(trajectory.items[1]["output"])["error"]
    assert trajectory.finish_reason is FinishReason.STOP


async def test_calls_of_one_turn_run_together_and_keep_their_order() -> None:
    meet = asyncio.Barrier(2)

    async def wait(tag: str) -> str:
        await asyncio.wait_for(meet.wait(), 5)
        return tag

    model = ScriptedModel([called(("wait", '{"tag": "x"}'), ("wait", '{"tag": "y"}')), said("done")])
    trajectory = await loop(model, MemoryResources({"wait": wait}))
    assert [item["output"] for item in trajectory.items[2:4]] == ["x", "y"]


async def test_max_turns_still_runs_the_last_tools() -> None:
    seen: list[int] = []
    model = ScriptedModel(lambda request: called(("note", json.dumps({"n": len(seen)}))))
    trajectory = await loop(model, MemoryResources({"note": lambda n: seen.append(n)}), max_turns=3)
    assert seen == [0, 1, 2]
    assert trajectory.finish_reason is FinishReason.MAX_TURNS
    assert len(trajectory.turns) == 3


async def test_token_budget_shortens_the_last_call() -> None:
    model = ScriptedModel([called(("f", "{}"), tokens=60), said("cut", FinishReason.LENGTH, tokens=40)])
    trajectory = await loop(model, MemoryResources({"f": str}), {"max_output_tokens": 80}, max_tokens=100)
    assert [request.params["max_output_tokens"] for request in model.requests] == [80, 40]
    assert trajectory.finish_reason is FinishReason.LENGTH


async def test_context_overflow_keeps_the_partial_trajectory() -> None:
    model = ScriptedModel([called(("f", "{}")), ModelReply([], FinishReason.CONTEXT_WINDOW)])
    trajectory = await loop(model, MemoryResources({"f": str}))
    assert trajectory.finish_reason is FinishReason.CONTEXT_WINDOW
    assert len(trajectory.turns) == 1


async def test_first_prompt_too_long_is_a_typed_failure() -> None:
    with pytest.raises(RolloutError) as caught:
        await loop(ScriptedModel([ModelReply([], FinishReason.CONTEXT_WINDOW)]), MemoryResources())
    assert caught.value.kind == FailureKind.PROMPT_TOO_LONG


async def test_long_tool_output_is_cut() -> None:
    model = ScriptedModel([called(("f", "{}")), said("ok")])
    trajectory = await loop(model, MemoryResources({"f": lambda: "x" * 50}), max_tool_output_chars=10)
    assert trajectory.items[1]["output"] == "x" * 10 + "\n[cut: 40 more characters]"


async def test_exact_tokens_are_handed_to_the_next_call() -> None:
    first, second = TurnTokens([1, 2], [3], [-0.1]), TurnTokens([1, 2, 3, 9], [5], [-0.2])
    replies = [called(("f", "{}")), said("ok")]
    replies[0].tokens, replies[1].tokens = first, second
    model = ScriptedModel(replies)
    trajectory = await loop(model, MemoryResources({"f": str}))
    assert model.requests[1].last_turn is first
    assert model.requests[1].covered == 2  # the prompt and the call; the tool's output is new
    (segment,) = segments_of([turn.tokens for turn in trajectory.turns if turn.tokens])
    assert segment.token_ids == [1, 2, 3, 9, 5]
    assert segment.loss_mask == [0, 0, 1, 0, 1]


async def test_gymnasium_loop_steps_until_terminated() -> None:
    steps = [StepResult("look again", 0.25), StepResult(None, 0.75, terminated=True)]
    resources = MemoryResources(steps=steps, observation="a room")
    model = ScriptedModel([said("left"), said("right")])
    context = context_of(model, resources)
    await GymnasiumLoop(AgentConfig()).run(context)
    trajectory = context.trajectory
    assert trajectory.step_rewards == [0.25, 0.75]
    assert trajectory.finish_reason is FinishReason.TERMINATED
    assert [item.get("content") for item in model.requests[1].items][:2] == ["go", "a room"]
    assert model.requests[1].items[-1]["content"] == "look again"


@pytest.mark.parametrize(
    ("result", "turns", "reason"),
    [
        (StepResult(truncated=True), 1, FinishReason.TRUNCATED),
        (StepResult(), 2, FinishReason.MAX_TURNS),
    ],
)
async def test_gymnasium_loop_ends_short(result: StepResult, turns: int, reason: FinishReason) -> None:
    context = context_of(ScriptedModel(lambda request: said("go on")), MemoryResources(steps=[result] * 2))
    await GymnasiumLoop(AgentConfig(max_turns=2)).run(context)
    assert context.trajectory.finish_reason is reason
    assert len(context.trajectory.turns) == turns


def test_agent_kinds() -> None:
    assert isinstance(make_agent(AgentConfig(), gymnasium=True), GymnasiumLoop)
    assert isinstance(make_agent(AgentConfig(kind="gym_ray.agents.tool_loop:ToolLoop"), gymnasium=True), ToolLoop)
    with pytest.raises(UserError, match=r"agent\.kind: 'tool_lop' is none of auto, tool_loop, gymnasium"):
        make_agent(AgentConfig(kind="tool_lop"), gymnasium=False)
