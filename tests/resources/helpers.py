"""Rows, answers and configurations for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.types.items import assistant_message, input_items
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage

SERVERS = Path(__file__).with_name("servers.py")


def config(name: str, **settings: Any) -> EnvironmentConfig:
    """Serve the class ``name`` of ``servers.py``."""
    return EnvironmentConfig(server=f"{SERVERS}:{name}", **settings)


def row(goal: int = 0, text: str = "Count.") -> dict[str, Any]:
    """A task row."""
    return {"responses_create_params": {"input": text}, "goal": goal}


def answer(text: str, tokens: bool = False) -> Trajectory:
    """A trajectory of one turn that says ``text``."""
    exact = TurnTokens([1, 2], [3, 4, 5], [-0.5] * 3, 7) if tokens else None
    turn = Turn(0, FinishReason.STOP, Usage(2, 3, 1, 0), exact, 0.25)
    return Trajectory(input_items({"input": "Count."}), [assistant_message(text)], [turn], FinishReason.MAX_TURNS)
