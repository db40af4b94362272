r"""Questions where not knowing may be said: right pays most, ``\boxed{[IDK]}`` pays some, wrong pays nothing.

The abstention is read by rule, anything else is graded by a judge as correct, incorrect or not attempted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict

from gym_ray.environments.boxed import last_boxed
from gym_ray.environments.judging import answer_of, asking, fenced, load_prompt
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

LABELS = {"[[CORRECT]]": "correct", "[[INCORRECT]]": "incorrect", "[[NOT_ATTEMPTED]]": "abstain"}
MAX_ANSWER_CHARS = 4000
"""A longer answer is cut before the judge sees it: the prompt asks for the answer alone."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = re.compile(r"[^\w\s]")


class Abstention(ResourcesServer):
    r"""Questions that may be answered `\boxed{[IDK]}`, graded by a judge.

    Options:
        abstention_reward: what an abstention is worth, between the other two.
        correct_reward, incorrect_reward: what the others are worth.
        abstention_token: what the prompt tells the model to put in the box when it does not know.
        prompt: a file that replaces the judge's prompt, or the name of another in `prompts/`; fields `{question}`,
            `{target}`, `{predicted_answer}`.
        judge_params: create parameters of the judge.
        judge_tries: askings before a verdict counts as unreadable.
    """

    judge_roles = ("judge",)
    verify_timeout_s = 1800.0

    class Task(TaskRow):
        """A question with one answer, in NeMo Gym's layout."""

        model_config = ConfigDict(coerce_numbers_to_str=True)

        question: str = ""
        """The bare question. Empty: the last user message."""
        answer: str
        """The right answer."""

    def __init__(
        self,
        abstention_reward: float = 0.5,
        correct_reward: float = 1.0,
        incorrect_reward: float = 0.0,
        abstention_token: str = "[IDK]",
        prompt: str | None = None,
        judge_params: Mapping[str, Any] | None = None,
        judge_tries: int = 2,
    ) -> None:
        super().__init__()
        if not incorrect_reward < abstention_reward < correct_reward:
            raise ValueError("abstention_reward must lie between incorrect_reward and correct_reward")
        self._rewards = {"correct": correct_reward, "incorrect": incorrect_reward, "abstain": abstention_reward}
        self._silence = _plain(abstention_token)
        self._prompt = load_prompt(__file__, "grade", prompt, ("question", "target", "predicted_answer"))
        self._asking = asking(judge_params, judge_tries)

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """By verdict: correct 1.0, abstain 0.5, incorrect 0.0, unless options say otherwise.

        ``extra``: ``extracted_answer``, ``ground_truth``, ``verdict``, ``judge_output`` (null where the judge was not
        asked), ``is_correct``, ``is_abstain``, ``is_incorrect``, ``omniscience_index`` (correct minus incorrect).
        """
        text = answer_of(trajectory)
        boxed = last_boxed(text)
        answer = (text if boxed is None else boxed).strip()
        said = None
        if not answer:
            verdict = "incorrect"  # Silence is no abstention: that has to be said.
        elif _plain(answer) == self._silence:
            verdict = "abstain"
        else:
            prompt = self._prompt.fill(
                question=fenced("question", task.question or task.prompt_text, list(LABELS)),
                target=fenced("target", task.answer, list(LABELS)),
                predicted_answer=fenced("predicted", answer[:MAX_ANSWER_CHARS], list(LABELS)),
            )
            judged = await self._asking.label(self.judge, prompt, list(LABELS))
            verdict, said = LABELS[judged.label], judged.record()["text"]
        is_ = {f"is_{name}": float(name == verdict) for name in ("correct", "abstain", "incorrect")}
        extra = {"extracted_answer": answer, "ground_truth": task.answer, "verdict": verdict, "judge_output": said}
        index = is_["is_correct"] - is_["is_incorrect"]
        return Reward(self._rewards[verdict], extra={**extra, **is_, "omniscience_index": index})


def _plain(text: str) -> str:
    """Lower case, without articles, punctuation and spare white space (as SQuAD compares answers)."""
    return " ".join(_PUNCTUATION.sub("", _ARTICLES.sub(" ", text.lower())).split())
