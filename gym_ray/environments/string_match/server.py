"""Short free-form answers: reward 1.0 for the expected text, 0.98 for nearly the same number, else 0.0.

The row says where the answer stands (a box, after ``Answer:``, the last line, everything) and whether it is compared
letter by letter or by the rules of :mod:`.compare`.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gym_ray.environments.string_match.compare import agreement
from gym_ray.environments.string_match.extract import ExtractionMode, answer_in
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.items import is_assistant_message, item_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory


class StringMatch(ResourcesServer):
    """Short free-form answers, compared as text."""

    pure = True

    class Task(TaskRow):
        """A question with its answer, in NeMo Gym's layout."""

        expected_answer: str = Field(min_length=1)
        """The right answer."""
        extraction_mode: ExtractionMode = "final_answer"
        """Where the model's answer stands."""
        case_sensitive: bool = False
        """True: the texts must be equal letter by letter. False: by the rules that the card lists."""

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 for the expected answer, 0.98 for a number within about 1%, else 0.0.
        ``extra``: ``expected_answer``, ``extracted_answer`` (or None)."""
        texts = [item_text(item) for item in trajectory.items if is_assistant_message(item)]
        answer = answer_in("\n".join(texts), task.extraction_mode)
        value = 0.0
        if answer is not None:
            value = _exact(task, answer) if task.case_sensitive else agreement(task.expected_answer, answer)
        return Reward(value, extra={"expected_answer": task.expected_answer, "extracted_answer": answer})


def _exact(task: Any, answer: str) -> float:
    return float(answer.strip() == task.expected_answer.strip())
