"""An engine that samples what it is told and writes down every id, and a model client right in front of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gym_ray.agents.base import AgentConfig, RolloutContext
from gym_ray.agents.conversation import Conversation
from gym_ray.models.config import ModelConfig
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.models.serve.engine import Generation
from gym_ray.models.serve.policy import Policy
from gym_ray.models.turn import turn_reply
from gym_ray.types.items import Item
from gym_ray.types.trajectory import Trajectory
from tests.models.serve.fakes import FakeEngine

PARSERS = {"tool_parser": "hermes", "reasoning_parser": "qwen3"}


@dataclass
class Sampled:
    """One call's ids, the end mark not among them; ``ended``: the engine adds it, else the turn is cut short."""

    ids: list[int]
    ended: bool = True


class RecordingEngine(FakeEngine):
    """``seen``, ``made``: prompt and sampled ids of every call. Logprobs are ``-1 / (number of the token + 1)``."""

    def __init__(self) -> None:
        super().__init__([])
        self.max_len = 1 << 20
        self.next = Sampled([])
        self.made: list[list[int]] = []

    async def generate(self, prompt: list[int], sampling: dict[str, Any], request_id: str) -> Generation:
        ids = [*self.next.ids, *([self.stop_ids[0]] if self.next.ended else [])]
        self.seen.append(list(prompt))
        self.made.append(ids)
        logprobs = [-1 / (number + 1) for number in range(len(ids))]
        return Generation(list(ids), logprobs, stopped=self.next.ended, version=len(self.made))


class DirectModel:
    """A :class:`~gym_ray.models.protocol.Model` that asks a policy in this process, as ``/turn`` would."""

    name = "direct"

    def __init__(self, template: str, **settings: Any) -> None:
        self.engine = RecordingEngine()
        serve = {**PARSERS, "chat_template": template}
        self.policy = Policy(self.engine, ModelConfig.model_validate({"kind": "vllm", "serve": serve, **settings}))

    async def respond(self, request: ModelRequest) -> ModelReply:
        """See :class:`Model`."""
        prefix = None if request.last_turn is None else request.last_turn.prompt + request.last_turn.sampled
        turn = {
            "params": request.params,
            "items": request.items,
            "session": request.session,
            "covered": request.covered,
            "prefix": prefix,
        }
        return turn_reply(await self.policy.respond(turn), prefix or [])

    async def close(self) -> None:
        """Nothing to close."""


def talk(model: DirectModel, items: list[Item], session: str, tools: list[Any]) -> tuple[Conversation, Trajectory]:
    """A conversation that begins with ``items``, and the trajectory that it grows."""
    trajectory = Trajectory(items)
    params: dict[str, Any] = {"tools": tools} if tools else {}
    nothing: Any = None
    context = RolloutContext(session, {}, params, trajectory, model, nothing, nothing, {})
    return Conversation(context, AgentConfig()), trajectory
