"""Short answers: reward 1.0 when a judge finds them equivalent to the expected one, else 0.0.

What is compared is the model's last message, or the part of it that a pattern finds (the row's ``output_regex``, or an
option). Options add a second asking: in the other order after a yes, with the whole message after a no.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, model_validator

from gym_ray.environments.judging import answer_of, asking, fenced, load_prompt
from gym_ray.environments.patterns import SlowPattern, last_match
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.errors import MaskRollout
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

FIELDS = ("question", "expected_answer", "generated_answer")
PATTERN_WINDOW_CHARS = 20_000
"""A pattern sees this much of the end of a text."""


class EquivalenceJudge(ResourcesServer):
    """Short answers, compared with the expected one by a judge.

    Options:
        prompt: a file that replaces the judge's prompt, or the name of another in `prompts/`; fields `{question}`,
            `{expected_answer}`,
            `{generated_answer}`.
        equal_label, not_equal_label: what the prompt asks the judge to end on.
        question_regex, response_regex: which part of the question, and of the answer, the judge sees.
        use_per_record_regex: a row's `template_metadata.output_regex` goes before `response_regex`.
        extraction_length_threshold: expected answers longer than this are compared with the whole message.
        check_twice_swap: after a yes, ask in the other order; both must agree, else `reward_if_swap_fails`.
        check_full_generation_on_fail: after a no on a part that a row's pattern found, ask with the whole message;
            a yes then is worth `reward_if_full_generation_succeeds`.
        max_answer_chars: a longer message is worth 0.0 unasked.
        judge_params: create parameters of the judge.
        judge_tries: askings before a verdict counts as unreadable.
    """

    judge_roles = ("judge",)
    verify_timeout_s = 1800.0

    class Task(TaskRow):
        """A question with one answer, in NeMo Gym's layout."""

        model_config = ConfigDict(coerce_numbers_to_str=True)

        expected_answer: str | None = None
        """The answer; `metadata.expected_answer` stands for it where it is missing."""
        metadata: dict[str, Any] | None = None
        """`expected_answer` in it is read where the row has none of its own."""
        template_metadata: dict[str, Any] | None = None
        """`output_regex` in it finds the answer in the model's message."""

        @property
        def answer(self) -> str:
            """The expected answer."""
            found = self.expected_answer or (self.metadata or {}).get("expected_answer")
            return "" if found is None else str(found)

        @model_validator(mode="after")
        def _check_answer(self) -> EquivalenceJudge.Task:
            if not self.answer.strip():
                raise ValueError("there is no `expected_answer`, and none in `metadata`")
            return self

    def __init__(
        self,
        prompt: str | None = None,
        equal_label: str = "[[A=B]]",
        not_equal_label: str = "[[A!=B]]",
        question_regex: str | None = None,
        response_regex: str | None = None,
        use_per_record_regex: bool = True,
        extraction_length_threshold: int | None = None,
        check_twice_swap: bool = False,
        reward_if_swap_fails: float = 0.0,
        check_full_generation_on_fail: bool = False,
        reward_if_full_generation_succeeds: float = 0.5,
        max_answer_chars: int | None = None,
        judge_params: Mapping[str, Any] | None = None,
        judge_tries: int = 2,
    ) -> None:
        super().__init__()
        if equal_label == not_equal_label:
            raise ValueError(f"equal_label and not_equal_label are both {equal_label!r}")
        self._prompt = load_prompt(__file__, "equivalence", prompt, FIELDS)
        self._equal, self._labels = equal_label, (equal_label, not_equal_label)
        self._question_regex, self._response_regex = question_regex, response_regex
        self._row_regex, self._threshold = use_per_record_regex, extraction_length_threshold
        self._swap, self._swap_reward = check_twice_swap, reward_if_swap_fails
        self._rescue, self._rescue_reward = check_full_generation_on_fail, reward_if_full_generation_succeeds
        self._max_chars, self._asking = max_answer_chars, asking(judge_params, judge_tries)

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 for an equivalent answer, else 0.0 (or what the options say for half a success).

        ``extra``: ``judge_evaluations``, ``extracted_answer``.
        """
        message = answer_of(trajectory)
        if not message or (self._max_chars is not None and len(message) > self._max_chars):
            reason = "empty_final_answer" if not message else "final_answer_too_long"
            return Reward(0.0, extra={"judge_evaluations": [], "extracted_answer": None, "zero_because": reason})
        pattern, is_rows, too_long = self._pattern(task)
        answer = _part(message, pattern)
        question = _part(task.prompt_text.strip(), self._question_regex)
        told: list[dict[str, str]] = []
        value = float(await self._equivalent(question, task.answer, answer, told))
        if value and self._swap and not too_long:
            value = 1.0 if await self._equivalent(question, answer, task.answer, told) else self._swap_reward
        elif not value and self._rescue and is_rows and not too_long:
            value = self._rescue_reward * await self._equivalent(question, task.answer, message, told)
        return Reward(value, extra={"judge_evaluations": told, "extracted_answer": answer})

    def _pattern(self, task: Task) -> tuple[str | None, bool, bool]:
        """What finds the answer; whether it is the row's own; whether the row's was left out for length."""
        own = (task.template_metadata or {}).get("output_regex") if self._row_regex else None
        if not own:
            return self._response_regex, False, False
        too_long = self._threshold is not None and len(task.answer) > self._threshold
        return (None, False, True) if too_long else (own, True, False)

    async def _equivalent(self, question: str, expected: str, generated: str, told: list[dict[str, str]]) -> bool:
        prompt = self._prompt.fill(
            question=fenced("question", question, self._labels),
            expected_answer=fenced("reference", expected, self._labels),
            generated_answer=fenced("candidate", generated, self._labels),
        )
        verdict = await self._asking.label(self.judge, prompt, self._labels)
        told.append(verdict.record())
        return verdict.label == self._equal


def _part(text: str, pattern: str | None) -> str:
    """What ``pattern`` finds last in ``text``, or all of it."""
    if not pattern:
        return text
    try:
        found = last_match(pattern, text[-PATTERN_WINDOW_CHARS:], re.MULTILINE | re.DOTALL)
    except SlowPattern:
        raise MaskRollout("equivalence_llm_judge:slow_pattern", f"pattern {pattern!r} did not end in time") from None
    return (found or text).strip()
