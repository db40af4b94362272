"""ARC-AGI: reward 1.0 for exactly the right output grid, else 0.0.

One turn, no tools. Reading the grid takes time linear in the text, so the environment is ``pure``; no text that a
model can write raises.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, field_validator

from gym_ray.environments.arc_agi.grids import Grid, read_grid
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.items import is_assistant_message, item_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory


class Pair(BaseModel):
    """One demonstration."""

    input: Grid
    output: Grid


class ArcAgi(ResourcesServer):
    """Grid puzzles: apply the rule that the demonstrations show."""

    pure = True

    class Task(TaskRow):
        """A puzzle in NeMo Gym's layout. Grids are lists of rows of colours 0 to 9."""

        train: list[Pair] = Field(default_factory=list)
        """The demonstrations. Not graded; the prompt shows them."""
        test_input: Grid = Field(default_factory=list)
        """The grid to transform. Not graded; the prompt shows it."""
        expected_output: Grid
        """The right answer."""

        @field_validator("expected_output")
        @classmethod
        def _check_answer(cls, grid: Grid) -> Grid:
            if not grid or not grid[0]:
                raise ValueError("must have at least one row with one cell: nothing else can be answered")
            return grid

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 for the right grid. ``extra``: ``expected_output``, ``predicted_output``, ``extraction_successful``."""
        text = "\n".join(item_text(item) for item in trajectory.items if is_assistant_message(item))
        predicted = read_grid(text)
        extra = {
            "expected_output": task.expected_output,
            "predicted_output": predicted,
            "extraction_successful": predicted is not None,
        }
        return Reward(float(predicted == task.expected_output), extra=extra)
