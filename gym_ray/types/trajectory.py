"""The trajectory: everything one rollout said and did, with exact tokens where the model gave them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gym_ray.types.items import Item, final_text, function_calls
from gym_ray.types.tokens import TurnTokens


class FinishReason(StrEnum):
    """Why the agent loop, or one model call, ended."""

    STOP = "stop"
    """The model finished of its own accord."""
    TOOL_CALLS = "tool_calls"
    """One model call ended to call tools (never a whole trajectory's reason)."""
    LENGTH = "length"
    """A token limit (``max_output_tokens`` or the agent's budget) cut it."""
    CONTEXT_WINDOW = "context_window"
    """The next prompt, or the answer, did not fit the model's context."""
    MAX_TURNS = "max_turns"
    CONTENT_FILTER = "content_filter"
    TERMINATED = "terminated"
    """A gymnasium-style environment said so."""
    TRUNCATED = "truncated"
    """A gymnasium-style environment cut the episode."""


TRUNCATIONS = frozenset(
    {FinishReason.LENGTH, FinishReason.CONTEXT_WINDOW, FinishReason.MAX_TURNS, FinishReason.TRUNCATED}
)
"""Finish reasons under which the trajectory is partial (``agent.on_truncation`` decides what then)."""


@dataclass(slots=True)
class Usage:
    """Token counts, summed over turns. ``cached``: prompt tokens served from the prefix cache."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def add(self, other: Usage) -> None:
        """Accumulate ``other`` in place."""
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.cached_tokens += other.cached_tokens
        self.reasoning_tokens += other.reasoning_tokens


@dataclass(slots=True)
class Turn:
    """One model call. ``last_item``: index into ``Trajectory.items`` of the call's last output item.

    ``tokens`` is None when the endpoint gives no ids. ``seconds``: wall time of the call.
    """

    last_item: int
    finish_reason: FinishReason
    usage: Usage
    tokens: TurnTokens | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class Trajectory:
    """One rollout's record.

    ``input``: the items the rollout began with. ``items``: all items since, in order: the model's output
    items, tool outputs and injected user messages. ``step_rewards``: gymnasium-style rewards, one per step.
    """

    input: list[Item]
    items: list[Item] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    finish_reason: FinishReason = FinishReason.STOP
    step_rewards: list[float] = field(default_factory=list)
    model: str = ""

    @property
    def text(self) -> str:
        """Text of the last assistant message (``""`` when there is none): what most verifiers grade."""
        return final_text(self.items)

    @property
    def calls(self) -> list[Item]:
        """Every ``function_call`` item, in order."""
        return function_calls(self.items)

    @property
    def usage(self) -> Usage:
        """Token counts summed over turns."""
        total = Usage()
        for turn in self.turns:
            total.add(turn.usage)
        return total

    @classmethod
    def of_items(cls, items: list[Item], input: list[Item] | None = None) -> Trajectory:
        """A trajectory made of output items alone: what tests, golden files and re-verification need."""
        return cls(input=input or [], items=items)
