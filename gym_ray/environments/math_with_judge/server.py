"""Mathematics: the library's verdict first, and a judge's second opinion where the library finds no equality.

``verify`` is that of ``math``, in its worker process. ``review`` asks the judge in the host's process, in both orders:
an answer counts as right only if it is equal whichever comes first, so a judge that favours a place pays nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gym_ray.environments.boxed import last_boxed
from gym_ray.environments.judging import Asking, Verdict, asking, fenced, load_prompt
from gym_ray.environments.math.server import MAX_ANSWER_CHARS, Math
from gym_ray.resources.server import Session
from gym_ray.types.errors import MaskRollout
from gym_ray.types.items import output_text
from gym_ray.types.outcome import Reward
from gym_ray.types.trajectory import Trajectory

LABELS = EQUAL, DIFFERENT = "[[A=B]]", "[[A!=B]]"
UNREADABLE = "math:unreadable_expected_answer"


class MathWithJudge(Math):
    r"""Mathematics with one answer in a box, graded by symbolic equality, then by a judge.

    Options:
        prompt: a file that replaces the judge's prompt, or the name of another in `prompts/`; fields `{question}`,
            `{first_answer}`, `{second_answer}`.
        judge_params: create parameters of the judge.
        judge_tries: askings before a verdict counts as unreadable.
    """

    judge_roles = ("judge",)

    def __init__(
        self, prompt: str | None = None, judge_params: Mapping[str, Any] | None = None, judge_tries: int = 2
    ) -> None:
        super().__init__(boxed_only=True)
        self._prompt = load_prompt(__file__, "equivalence", prompt, ("question", "first_answer", "second_answer"))
        self._asking: Asking = asking(judge_params, judge_tries)

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 for an answer that the library, or else the judge in both orders, finds equal; else 0.0.

        ``extra``: ``extracted_answer``, ``library_reward``, ``judge_evaluations`` (null where it was not asked).
        """
        try:
            return await super().verify(task, trajectory, session)
        except MaskRollout as mask:
            if mask.kind != UNREADABLE:
                raise
            # What the library cannot read, a judge can.
            answer = last_boxed(output_text(trajectory.items))
            return Reward(0.0, extra={"extracted_answer": answer, "library_reward": 0.0})

    async def review(self, task: Any, trajectory: Trajectory, session: Session, reward: Reward) -> Reward:
        """The judge's opinion of a boxed answer that the library did not accept."""
        reward.extra["judge_evaluations"] = None
        answer = last_boxed(output_text(trajectory.items)) or ""
        if reward.value > 0.5 or not answer.strip() or len(answer) > MAX_ANSWER_CHARS:
            return reward
        question, expected = task.question or task.prompt_text, task.expected_answer
        verdicts = [await self._compare_by_judge(question, expected, answer)]
        if verdicts[0].label == EQUAL:
            verdicts.append(await self._compare_by_judge(question, answer, expected))
        reward.extra["judge_evaluations"] = [verdict.record() for verdict in verdicts]
        reward.value = float(verdicts[-1].label == EQUAL)
        return reward

    async def _compare_by_judge(self, question: str, first: str, second: str) -> Verdict:
        prompt = self._prompt.fill(
            question=fenced("problem", question, LABELS),
            first_answer=fenced("answer_A", first, LABELS),
            second_answer=fenced("answer_B", second, LABELS),
        )
        return await self._asking.label(self.judge, prompt, LABELS)
