r"""Mathematics: reward 1.0 when the boxed answer equals the expected one, else 0.0.

Equality is symbolic (``1/2`` = ``0.5``, ``x+1`` = ``1+x``) by math-verify, which may compute for seconds: the class
is ``cpu_bound``, so ``verify`` runs in a worker process that can be killed. What the model wrote and cannot be read
as mathematics in time is a wrong answer; an expected answer that cannot be read leaves the rollout unjudged.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, model_validator

from gym_ray.environments.boxed import last_boxed
from gym_ray.environments.math.numbers import read_number
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.errors import MaskRollout
from gym_ray.types.items import output_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

MAX_ANSWER_CHARS = 1000
"""A longer box is no answer."""
MAX_TEXT_CHARS = 20_000
"""With ``boxed_only=false``: how much of the end of an unboxed text is searched."""


class Math(ResourcesServer):
    r"""Mathematics with one answer in a box, graded by symbolic equality.

    Options:
        boxed_only: a text without a finished ``\boxed{}`` has no answer. False: math-verify searches the text.
    """

    cpu_bound = True
    verify_timeout_s = 15.0

    class Task(TaskRow):
        """A question with one answer, in NeMo Gym's layout."""

        model_config = ConfigDict(coerce_numbers_to_str=True)

        question: str = ""
        """The question without the instructions around it. Not graded; for readers."""
        expected_answer: str
        r"""The answer, plain or LaTeX, with or without ``$...$`` or ``\(...\)`` around it."""

        answer_form: Literal["any", "number"] = "any"
        """any: whatever is symbolically equal. number: a finished number, exactly equal (``7+8`` is not 15)."""

        @model_validator(mode="after")
        def _check_answer(self) -> Math.Task:
            answer = self.expected_answer
            if not answer.strip() or len(answer) > MAX_ANSWER_CHARS:
                raise ValueError(f"`expected_answer` must have 1 to {MAX_ANSWER_CHARS} characters")
            if self.answer_form == "number" and read_number(answer) is None:
                raise ValueError(f"`expected_answer` {answer!r} is no finished number, as `answer_form` says")
            return self

    def __init__(self, boxed_only: bool = True) -> None:
        super().__init__()
        self._boxed_only = boxed_only

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 for an equal answer, else 0.0. ``extra``: ``extracted_answer`` (or None), ``library_reward``."""
        text = output_text(trajectory.items)
        answer = last_boxed(text)
        if answer is not None and len(answer) > MAX_ANSWER_CHARS:
            right = False
        elif task.answer_form == "number":
            right = answer is not None and read_number(answer) == read_number(task.expected_answer)
        else:
            right, answer = self._compare(task.expected_answer, answer, text)
        return Reward(float(right), extra={"extracted_answer": answer, "library_reward": float(right)})

    def _compare(self, expected: str, answer: str | None, text: str) -> tuple[bool, str | None]:
        """Whether the answer is symbolically equal, and the answer as written."""
        # Imported at the first grading: it brings SymPy, which the actor's own process never needs.
        from gym_ray.environments.math.equality import UnreadableAnswer, equal, equal_in_text

        try:
            if answer is not None:
                return equal(expected, answer), answer
            return (False, None) if self._boxed_only else equal_in_text(expected, text[-MAX_TEXT_CHARS:])
        except UnreadableAnswer as error:
            raise MaskRollout("math:unreadable_expected_answer", str(error)) from None
