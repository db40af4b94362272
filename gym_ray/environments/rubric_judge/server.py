"""Open-ended answers held against a rubric: a judge says yes or no to each point, and the points add up to the reward.

One judge per answer, no comparison with others: what preference training takes where a rubric can be written down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gym_ray.environments.judging import LABEL_PARAMS, answer_of, asking, fenced, load_prompt, together
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.items import item_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

LABELS = YES, NO = "[[YES]]", "[[NO]]"
PARAMS = {**LABEL_PARAMS, "temperature": 0.7, "top_p": 0.8}
Scores = list[tuple[float, float]]
"""(score 0 or 1, weight) of each point."""


def _weighted(scores: Scores) -> float:
    return sum(score * weight for score, weight in scores) / sum(weight for _, weight in scores)


AGGREGATIONS: dict[str, Callable[[Scores], float]] = {
    "mean": lambda scores: sum(score for score, _ in scores) / len(scores),
    "weighted": _weighted,
    "min": lambda scores: min(score for score, _ in scores),
    "max": lambda scores: max(score for score, _ in scores),
    "all": lambda scores: float(all(score for score, _ in scores)),
    "any": lambda scores: float(any(score for score, _ in scores)),
}


class Point(BaseModel):
    """One point of a rubric."""

    model_config = ConfigDict(extra="allow")

    question: str = Field(min_length=1)
    """What is asked about the answer; yes or no. `criteria` is another name for it."""
    pass_criteria: Literal["YES", "NO"] = "YES"
    """Which of the two passes."""
    weight: float = Field(default=1.0, ge=0)
    """Counts with `aggregation: weighted`."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, point: Any) -> Any:
        if not isinstance(point, dict):
            return point
        passes = "NO" if str(point.get("pass_criteria")).upper() == "NO" else "YES"
        return {**point, "question": point.get("question") or point.get("criteria"), "pass_criteria": passes}


class RubricJudge(ResourcesServer):
    """Open-ended answers, judged point by point.

    Options:
        aggregation: mean, weighted, min, max, all or any of the points' scores (0 or 1 each).
        prompt: a file that replaces the judge's prompt, or the name of another in `prompts/`; fields `{context}`,
            `{response}`, `{question}`,
            `{pass_criteria}`.
        judge_params: create parameters of the judge.
        judge_tries: askings before a verdict counts as unreadable.
    """

    judge_roles = ("judge",)
    verify_timeout_s = 1800.0

    class Task(TaskRow):
        """A conversation with a rubric for its next answer, in the layout of NeMo Gym's `multichallenge` (or
        `inverse_if`)."""

        rubric: list[Point] = Field(default_factory=list)
        """The points. Missing: `metadata.rubric`."""
        context: str = ""
        """The conversation as the judge shall see it. Empty: the messages of the input."""
        reference_response: str = ""
        """An answer that would pass; the judge sees it after the conversation."""
        metadata: dict[str, Any] | None = None
        """`rubric` in it is read where the row has none of its own."""

        @model_validator(mode="before")
        @classmethod
        def _find_rubric(cls, row: Any) -> Any:
            if isinstance(row, dict) and not row.get("rubric") and isinstance(row.get("metadata"), dict):
                return {**row, "rubric": row["metadata"].get("rubric") or []}
            return row

        @model_validator(mode="after")
        def _check_rubric(self) -> RubricJudge.Task:
            if not self.rubric or not sum(point.weight for point in self.rubric):
                raise ValueError("`rubric` needs at least one point with a weight above 0")
            return self

    def __init__(
        self,
        aggregation: str = "mean",
        prompt: str | None = None,
        judge_params: Mapping[str, Any] | None = None,
        judge_tries: int = 2,
    ) -> None:
        super().__init__()
        if aggregation not in AGGREGATIONS:
            raise ValueError(f"aggregation {aggregation!r} is none of {', '.join(AGGREGATIONS)}")
        self._aggregation = aggregation
        self._prompt = load_prompt(__file__, "point", prompt, ("context", "response", "question", "pass_criteria"))
        self._asking = asking(judge_params, judge_tries, PARAMS)

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """The points' scores, aggregated: 0.0 to 1.0. An empty answer is worth 0.0 unasked.

        ``extra``: ``rubric_evaluations``, ``aggregation_mode``, ``num_passed``, ``num_total``.
        """
        answer, told = answer_of(trajectory), []
        if answer:
            context = fenced("conversation", task.context or _conversation(task), LABELS)
            if task.reference_response:
                context += "\n\n" + fenced("reference_response", task.reference_response, LABELS)
            told = await together(*(self._point(point, context, answer) for point in task.rubric))
        value = AGGREGATIONS[self._aggregation]([(one["score"], one["weight"]) for one in told]) if told else 0.0
        counts = {"num_passed": sum(one["score"] > 0 for one in told), "num_total": len(task.rubric)}
        return Reward(value, extra={"rubric_evaluations": told, "aggregation_mode": self._aggregation, **counts})

    async def _point(self, point: Point, context: str, answer: str) -> dict[str, Any]:
        prompt = self._prompt.fill(
            context=context,
            response=fenced("response", answer, LABELS),
            question=point.question,
            pass_criteria=point.pass_criteria,
        )
        verdict = await self._asking.label(self.judge, prompt, LABELS)
        said = "YES" if verdict.label == YES else "NO"
        score = float(said == point.pass_criteria)
        asked = {"question": point.question, "pass_criteria": point.pass_criteria, "weight": point.weight}
        return {**asked, "verdict": said, "score": score, "judge_response": verdict.record()["text"]}


def _conversation(task: TaskRow) -> str:
    given = task.input
    if isinstance(given, str):
        return f"[USER]: {given}"
    messages = [item for item in given if item.get("role") and item.get("type", "message") == "message"]
    return "\n\n".join(f"[{item['role'].upper()}]: {item_text(item)}" for item in messages)
