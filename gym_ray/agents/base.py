"""The agent protocol and the limits that every agent obeys."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from gym_ray.models.protocol import Model
from gym_ray.resources.protocol import Resources, ResourcesSession
from gym_ray.types.settings import Settings
from gym_ray.types.trajectory import Trajectory


class AgentConfig(Settings):
    """Limits and policies of the agent loop (``agent.*``)."""

    kind: str = "auto"
    """auto (by the environment), tool_loop, gymnasium, http (an agent elsewhere), or an import path
    `package.module:Class`."""
    url: str | None = None
    """kind http: where the agent is asked to work on a task (docs/agents.md)."""
    listen_host: str = "127.0.0.1"
    """kind http: address at which agent workers listen for its model calls."""
    patience_s: float = Field(60.0, ge=0)
    """kind http: seconds in which an agent that cannot be reached may come back, per attempt at a rollout."""
    max_turns: int = Field(50, ge=1)
    """Model calls per rollout; reaching it ends the rollout as `max_turns`."""
    max_tokens: int | None = Field(None, ge=1)
    """Sampled tokens per rollout over all turns; the last call is shortened to fit. None: no budget."""
    on_truncation: Literal["score", "mask"] = "score"
    """What becomes of a trajectory cut by a limit: scored as it is, or kept but masked."""
    max_tool_output_chars: int = Field(100_000, ge=1)
    """A longer tool output is cut, with a note to the model."""
    parallel_tool_calls: bool = True
    """Run the tool calls of one turn at the same time."""
    rollout_timeout_s: float = Field(3600.0, gt=0)
    """Deadline of a whole rollout, in seconds; spent: failed as `agent_timeout`."""


@dataclass(slots=True)
class RolloutContext:
    """One rollout in the making.

    ``task``: the row as JSON. ``params``: create parameters to send, complete, without the conversation.
    ``trajectory`` and ``timings`` (seconds by phase) grow in place, so that whoever cuts the agent short
    still has what was done.
    """

    rollout_id: str
    task: dict[str, Any]
    params: dict[str, Any]
    trajectory: Trajectory
    model: Model
    resources: Resources
    session: ResourcesSession
    timings: dict[str, float]


class Agent(ABC):
    """A loop that fills ``context.trajectory``. Stateless: one instance serves all rollouts of a process."""

    def __init__(self, config: AgentConfig) -> None:
        self.config = config

    @abstractmethod
    async def run(self, context: RolloutContext) -> None:
        """Drive model and tools until the trajectory is finished; set ``trajectory.finish_reason``.

        Raises:
            RolloutError: the rollout cannot go on.
        """
