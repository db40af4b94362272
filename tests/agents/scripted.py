"""A scripted model and in-memory resources: just enough of the two protocols to test agent loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gym_ray.agents.base import RolloutContext
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.resources.gymnasium import StepResult
from gym_ray.types.items import Item, input_items
from gym_ray.types.outcome import Reward
from gym_ray.types.trajectory import Trajectory

Script = list[ModelReply] | Callable[[ModelRequest], ModelReply]


class ScriptedModel:
    """Answers from a list, or by a function of the request; remembers what it was asked."""

    name = "scripted"

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[ModelRequest] = []

    async def respond(self, request: ModelRequest) -> ModelReply:
        self.requests.append(
            ModelRequest(dict(request.params), list(request.items), request.session, request.last_turn, request.covered)
        )
        return self._script(request) if callable(self._script) else self._script[len(self.requests) - 1]

    async def close(self) -> None:
        pass


class MemoryResources:
    """Tools are functions of their arguments; verdicts and steps come from callables."""

    scores_groups = False
    tools: list[dict[str, Any]] = []

    def __init__(
        self,
        functions: dict[str, Callable[..., Any]] | None = None,
        steps: list[StepResult] | None = None,
        observation: str | None = None,
    ) -> None:
        self.functions, self.steps, self.observation = functions or {}, steps or [], observation
        self.gymnasium = steps is not None
        self.closed = 0
        self.actions: list[list[Item]] = []

    async def seed(self, task: dict[str, Any], rollout_id: str) -> MemoryResources:
        return self

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> str:
        result = self.functions[name](**arguments)
        return str(await result if hasattr(result, "__await__") else result)

    async def step(self, action: list[Item]) -> StepResult:
        self.actions.append(action)
        return self.steps[len(self.actions) - 1]

    async def verify(self, trajectory: Trajectory) -> Reward:
        return Reward(1.0)

    async def verify_group(self, task: dict[str, Any], trajectories: list[Trajectory]) -> list[Reward]:
        raise AssertionError("not a group environment")

    async def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        pass


def context_of(model: ScriptedModel, resources: MemoryResources, **params: Any) -> RolloutContext:
    """A rollout of the prompt "go" over these two."""
    row = {"responses_create_params": {"input": "go", **params}}
    trajectory = Trajectory(input_items(row["responses_create_params"]))
    return RolloutContext("t-0", row, params, trajectory, model, resources, resources, {})
