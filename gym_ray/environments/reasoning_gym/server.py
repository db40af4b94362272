"""Reasoning Gym: more than 100 kinds of generated puzzles; the reward is what the package's scorer says, 0.0 to 1.0.

Scorers compute, a few of them for long: the class is ``cpu_bound``, so they run in a worker process that can be
killed. The package is imported there, never in the process that hosts the sessions.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from pydantic import field_validator

from gym_ray.environments.reasoning_gym.answers import read_answer
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.errors import MaskRollout, UserError
from gym_ray.types.items import output_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory


class ReasoningGym(ResourcesServer):
    """Puzzles of the reasoning-gym package, graded by its scorers."""

    cpu_bound = True
    verify_timeout_s = 30.0

    class Task(TaskRow):
        """An entry of a reasoning-gym dataset, in NeMo Gym's layout."""

        question: str
        """The puzzle. Scorers may read it."""
        answer: str | None
        """A right answer; null where any of many would do."""
        metadata: dict[str, Any]
        """What the scorer needs; ``source_dataset`` names it."""

        @field_validator("metadata")
        @classmethod
        def _check_name(cls, metadata: dict[str, Any]) -> dict[str, Any]:
            if not isinstance(metadata.get("source_dataset"), str):
                raise ValueError("`source_dataset` must name a dataset of reasoning-gym")
            return metadata

    def __init__(self) -> None:
        super().__init__()
        if find_spec("reasoning_gym") is None:
            raise UserError("environment `reasoning_gym` needs the package: pip install 'gym-ray[reasoning-gym]'")

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """The scorer's number. ``extra``: ``task_name``, ``score``, ``extracted_answer``."""
        # Imported at the first grading, in the worker process: it brings SymPy and more.
        from gym_ray.environments.reasoning_gym.scoring import NoVerdict, score

        name, answer = task.metadata["source_dataset"], read_answer(output_text(trajectory.items))
        try:
            value = score(name, answer, {"question": task.question, "answer": task.answer, "metadata": task.metadata})
        except NoVerdict as error:
            raise MaskRollout("reasoning_gym:no_verdict", str(error)) from None
        return Reward(value, extra={"task_name": name, "score": value, "extracted_answer": answer})
