"""Multiple-choice questions: reward 1.0 for the right letter, else 0.0.

Nothing is asked of a session, and grading is a few string searches, so the environment is ``pure``. Text that a
model can write never raises; only a row's own pattern that runs into its deadline leaves a rollout unjudged.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from gym_ray.environments.mcqa.grading import READERS, GradingMode, Options, by_patterns
from gym_ray.environments.patterns import SlowPattern
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.errors import MaskRollout
from gym_ray.types.items import output_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

PATTERN_WINDOW_CHARS = 20_000
"""A row's own pattern sees this much of the end of the text."""


class Mcqa(ResourcesServer):
    """Multiple-choice questions, graded by the letter that the model chose.

    Options:
        grading_mode: overrides every row's own ``grading_mode``.
    """

    pure = True

    class Task(TaskRow):
        """A question with lettered options, in NeMo Gym's layout."""

        options: list[dict[str, str | None]] = Field(default_factory=list)
        """``[{"A": "text"}, {"B": "text"}]``; an option whose text is null does not exist."""
        expected_answer: str
        """The right letter."""
        grading_mode: GradingMode = "strict_single_letter_boxed"
        """How the letter is read from the text."""
        template_metadata: dict[str, Any] | None = None
        """``output_regex`` in it, a pattern or a list of them, is tried before ``grading_mode``."""

        @model_validator(mode="after")
        def _check_answer(self) -> Mcqa.Task:
            letters = letter_options(self.options)
            if not _patterns(self.template_metadata) and self.expected_answer.strip().upper() not in letters:
                raise ValueError(f"`expected_answer` {self.expected_answer!r} is none of the `options` {list(letters)}")
            return self

    def __init__(self, grading_mode: GradingMode | None = None) -> None:
        super().__init__()
        if grading_mode is not None and grading_mode not in READERS:
            raise ValueError(f"grading_mode {grading_mode!r} is none of {', '.join(READERS)}")
        self._grading_mode = grading_mode

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 for the right letter, else 0.0. ``extra``: ``expected_answer``, ``extracted_answer`` (or None)."""
        expected = task.expected_answer.strip().upper()
        options = letter_options(task.options)
        text = output_text(trajectory.items)
        letter = None
        if patterns := _patterns(task.template_metadata):
            try:
                letter = by_patterns(text[-PATTERN_WINDOW_CHARS:], options, patterns)
            except SlowPattern as slow:
                raise MaskRollout("mcqa:slow_pattern", f"output_regex {slow} did not end in time") from None
        if letter is None:
            letter = READERS[self._grading_mode or task.grading_mode](text, options)
        value = 1.0 if letter == expected else 0.0
        return Reward(value, extra={"expected_answer": expected, "extracted_answer": letter})


def letter_options(options: list[dict[str, str | None]]) -> Options:
    """Option texts by upper-case letter. Keys that are no single letter, and null texts, are left out."""
    return {
        letter.upper(): text
        for option in options
        for letter, text in option.items()
        if text is not None and len(letter) == 1 and letter.isalpha()
    }


def _patterns(template_metadata: dict[str, Any] | None) -> list[str]:
    given = (template_metadata or {}).get("output_regex") or []
    return [given] if isinstance(given, str) else [pattern for pattern in given if isinstance(pattern, str)]
