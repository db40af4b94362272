"""What an export takes from a run, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gym_ray.export.where import parse_where
from gym_ray.types.settings import Settings


def _listed(value: Any) -> Any:
    """``a,b`` and ``[a, b]`` as a list."""
    return [part.strip() for part in value.strip("[]").split(",") if part.strip()] if isinstance(value, str) else value


def _where(text: str) -> str:
    """Parsed for its mistakes. Raises ValueError."""
    if text.strip():
        parse_where(text)
    return text


Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Finish = Literal["stop", "length", "context_window", "max_turns", "content_filter", "terminated", "truncated"]


class ExportSettings(Settings):
    """Filters come first, then ``best``, then pairs, then ``dedup``. A task without a rollout left is left out."""

    out: str
    """Folder to write: new or empty, on any filesystem."""
    env: Annotated[list[str], BeforeValidator(_listed)] = []
    """Environments to take, all by default."""
    outcome: Annotated[list[Literal["scored", "masked", "failed"]], BeforeValidator(_listed)] = ["scored"]
    """Outcomes to take. Masked and failed rollouts have a reason not to be trained on: ask for them by name."""
    reward_min: float | None = None
    """Least reward."""
    reward_max: float | None = None
    """Greatest reward."""
    finish: Annotated[list[Finish], BeforeValidator(_listed)] = []
    """Finish reasons to take, all by default."""
    truncated: bool = True
    """false: without rollouts that a token, turn or context limit cut."""
    length_min: Count | None = None
    """Least length in tokens: of the longest segment; without ids prompt and completion, summed over turns."""
    length_max: Count | None = None
    """Greatest length in tokens, measured so too."""
    pass_rate_min: Fraction | None = None
    """Least pass rate of a rollout's task: the share of its scored rollouts with at least `pass_reward`."""
    pass_rate_max: Fraction | None = None
    """Greatest pass rate of a rollout's task."""
    pass_reward: float = 1.0
    """Reward that counts as a pass."""
    where: Annotated[str, AfterValidator(_where)] = ""
    """Condition over a rollout's task and all its rollouts: `any(reward >= 1) and mean(reward) < 0.9`."""
    best: Count | None = None
    """Best of n: of each task this many rollouts, those with the highest reward; the earlier one where equal."""
    pairs: Literal["best_worst", "all", "random", "matched"] = "best_worst"
    """Which two rollouts of a task are ranked: the best and the worst; every two; some of these, drawn; or those
    nearest in length, so that length is not what is learned."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    """Least difference of rewards within a pair. Equal rewards are never a pair."""
    pairs_per_task: Count | None = None
    """Most pairs of one task: with `all` those with the greatest difference; with `random` and `matched` 1
    by default."""
    seed: int = 0
    """Of the draw."""
    dedup: bool = False
    """Leave out examples whose prompt and answer were already written. Remembers 16 bytes of each."""
    validation: Fraction = 0.0
    """Share of tasks for validation. A task is in one split only, the same in every run, by a hash of its id."""
    test: Fraction = 0.0
    """Share of tasks for test."""
    reasoning: Literal["inline", "field", "drop"] = "inline"
    """Where reasoning goes: into the text between think tags, into `reasoning_content`, or nowhere."""
    ground_truth: str = "expected_answer"
    """Task field that becomes `reward_model.ground_truth` (verl_rl)."""
