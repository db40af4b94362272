"""Open-ended answers ranked within their group: a judge compares them two at a time, and the comparisons make scores.

The whole group is graded together, when its last rollout is there. Each comparison is one question to the judge; one
that fails is left out, and only a rollout with none left is masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from gym_ray.environments.genrm_compare.pairs import (
    Adjustments,
    Comparison,
    adjustments,
    base_scores,
    pairs,
    read_scores,
)
from gym_ray.environments.judging import THOUGHT_ENDS, asking, fenced, load_prompt, together
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.errors import FailureKind, MaskRollout
from gym_ray.types.items import Item, item_text, output_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

PARAMS = {"temperature": 0.6, "top_p": 0.95, "max_output_tokens": 16384}
FIELDS = ("conversation", "principle", "response_1", "response_2")
NO_ANSWER = "None"
"""Stands for an empty answer."""
PRINCIPLE = (
    "Prefer the response that serves the user better: correct first, then complete on what was asked and nothing else, "
    "clear, and honest about what it does not know. Asking back is right where the request leaves open what is wanted."
)


class GenrmCompare(ResourcesServer):
    """Open-ended answers, compared in pairs by a judge.

    Options:
        comparison_strategy: circular (each answer with the next: as many comparisons as answers) or all_pairs.
        both_orders: compare each pair the other way round as well.
        num_judges_per_comparison: askings of each comparison, all of which count.
        judge_format: prompt (any model, by our prompt) or genrm (NVIDIA's GenRM models: answers as messages with
            roles of their own; wants `judge.dialect=chat`).
        use_principle, default_principle: tell the judge by what to compare; a row's `principle` goes first.
        reasoning_bonus, answer_bonus: for the group's shortest reasoning, and answer, if its score is at the top.
        top_percentile: which share of the group is the top.
        group_reasoning_length_penalty_coeff, group_answer_length_penalty_coeff: from shortest to longest in the group
            the reward falls by so much, with a mean of zero.
        group_style_penalty_coeff: the same for headers, list items, bold passages and emoji per character.
        default_score, default_ranking: for what the judge leaves out of its JSON.
        prompt: a file that replaces the judge's prompt, or the name of another in `prompts/`; fields
            `{conversation}`, `{principle}`, `{response_1}`,
            `{response_2}`.
        judge_params: create parameters of the judge.
        judge_tries: askings before a comparison counts as unreadable.
    """

    judge_roles = ("judge",)
    verify_timeout_s = 1800.0

    class Task(TaskRow):
        """A conversation to answer, in NeMo Gym's layout."""

        principle: str | None = None
        """By what this row's answers are compared (with `use_principle`)."""

    def __init__(
        self,
        comparison_strategy: Literal["circular", "all_pairs"] = "circular",
        both_orders: bool = False,
        num_judges_per_comparison: int = 1,
        judge_format: Literal["prompt", "genrm"] = "prompt",
        use_principle: bool = False,
        default_principle: str = PRINCIPLE,
        default_score: float = 3.0,
        default_ranking: float = 3.5,
        prompt: str | None = None,
        judge_params: Mapping[str, Any] | None = None,
        judge_tries: int = 4,
        **terms: float,
    ) -> None:
        super().__init__()
        if comparison_strategy not in ("circular", "all_pairs") or judge_format not in ("prompt", "genrm"):
            raise ValueError("comparison_strategy is circular or all_pairs; judge_format is prompt or genrm")
        if num_judges_per_comparison < 1:
            raise ValueError("num_judges_per_comparison must be at least 1")
        self._strategy, self._both, self._judges = comparison_strategy, both_orders, num_judges_per_comparison
        self._as_roles = judge_format == "genrm"
        self._principle = default_principle if use_principle else None
        self._defaults = default_score, default_ranking
        self._terms = Adjustments(**terms)
        self._prompt = load_prompt(__file__, "compare", prompt, FIELDS)
        self._asking = asking(judge_params, judge_tries, PARAMS)

    async def verify_group(self, task: Any, trajectories: Sequence[Trajectory]) -> list[Reward | float | MaskRollout]:
        """The mean of what the comparisons gave each answer (about 1 to 5), plus what length and style add.

        Masked: `cohort_incomplete` in a group of one; a rollout whose comparisons all failed, as the last of them did.
        ``components``: ``comparison``, ``length``, ``style``. ``extra``: ``comparisons``.
        """
        if len(trajectories) < 2:
            reason = "there is nothing to compare this rollout with: its group has no other"
            return [MaskRollout(FailureKind.COHORT_INCOMPLETE, reason)] * len(trajectories)
        answers = [output_text(one.items).rpartition(THOUGHT_ENDS)[2] for one in trajectories]
        chosen = pairs(self._strategy, len(answers))
        orders = [*chosen, *((second, first) for first, second in chosen)] if self._both else chosen
        ends = await together(*(self._compare(task, answers, *pair) for pair in orders * self._judges))
        compared = [end for end in ends if isinstance(end, Comparison)]
        return self._rewards(trajectories, answers, compared, [end for end in ends if isinstance(end, MaskRollout)])

    def _rewards(
        self,
        trajectories: Sequence[Trajectory],
        answers: list[str],
        compared: list[Comparison],
        failed: list[MaskRollout],
    ) -> list[Reward | float | MaskRollout]:
        bases = base_scores(len(answers), compared)
        scored = {at: base for at, base in enumerate(bases) if base is not None}
        reasoning = [_reasoning(trajectories[at]) for at in scored]
        length, style = adjustments(list(scored.values()), reasoning, [answers[at] for at in scored], self._terms)
        rewards: dict[int, Reward] = {}
        for (at, base), longer, plainer in zip(scored.items(), length, style, strict=True):
            told = [asdict(one) for one in compared if at in (one.first, one.second)]
            parts = {"comparison": base, "length": longer, "style": plainer}
            rewards[at] = Reward(base + longer + plainer, parts, {"comparisons": told, "group_position": at})
        return [rewards[at] if at in rewards else failed[-1] for at in range(len(answers))]

    async def _compare(self, task: Task, answers: list[str], first: int, second: int) -> Comparison | MaskRollout:
        """One comparison, or why there is none."""
        one, other = (answers[at] if answers[at].strip() else NO_ANSWER for at in (first, second))
        question = self._roles(task, one, other) if self._as_roles else self._question(task, one, other)
        try:
            found, _ = await self._asking.read(
                self.judge, question, lambda text: read_scores(text, *self._defaults), "JSON with score_1 and score_2"
            )
        except MaskRollout as mask:
            return mask
        return Comparison(first, second, *found)

    def _question(self, task: Task, one: str, other: str) -> str:
        history = "\n\n".join(f"[{role.upper()}]: {text}" for role, text in _history(task))
        principle = task.principle or self._principle if self._principle is not None else PRINCIPLE
        return self._prompt.fill(
            conversation=fenced("conversation", history),
            principle=principle or PRINCIPLE,
            response_1=fenced("response_1", one),
            response_2=fenced("response_2", other),
        )

    def _roles(self, task: Task, one: str, other: str) -> list[Item]:
        said = list(_history(task))
        if self._principle is not None:
            said.append(("principle", task.principle or self._principle))
        said += [("response_1", one), ("response_2", other)]
        return [{"role": role, "content": text} for role, text in said]


def _history(task: TaskRow) -> list[tuple[str, str]]:
    """(role, text) of each message of the input."""
    given = task.input
    if isinstance(given, str):
        return [("user", given)]
    return [(item.get("role", "user"), item_text(item)) for item in given if item.get("type", "message") == "message"]


def _reasoning(trajectory: Trajectory) -> str:
    """What the model thought, as items or aloud."""
    aloud = output_text(trajectory.items).rpartition(THOUGHT_ENDS)[0]
    return "".join(item_text(item) for item in trajectory.items if item.get("type") == "reasoning") + aloud
