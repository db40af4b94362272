"""One task's rollouts, measured: what every number about a run is made of.

Invariant: only scored rollouts have a reward here. Masked and failed ones are counted by kind, and enter no mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

import orjson

from gym_ray.runs.rollouts import Group, StoredRollout
from gym_ray.types.items import Item, function_calls, is_assistant_message, item_text, output_text
from gym_ray.types.outcome import Outcome

ANSWER_FIELDS = ("extracted_answer", "predicted_answer", "predicted_output", "extracted_model_code")
"""Row fields that hold what a verifier took for the answer; the first that a row has counts."""
EXPECTED_FIELDS = ("expected_answer", "expected_output", "ground_truth", "answer", "answers")


@dataclass(slots=True)
class Measured:
    """One task. ``threshold``: reward of a success. ``scored``: its scored rollouts, by index, as all lists here."""

    group: Group
    threshold: float
    scored: list[StoredRollout] = field(init=False)
    rewards: list[float] = field(init=False)
    successes: list[bool] = field(init=False)

    def __post_init__(self) -> None:
        self.scored = [row for row in self.rows if row.outcome is Outcome.SCORED and row.reward is not None]
        self.rewards = [float(row.reward or 0.0) for row in self.scored]
        self.successes = [reward >= self.threshold for reward in self.rewards]

    @property
    def rows(self) -> Sequence[StoredRollout]:
        """Rollouts with any outcome."""
        return self.group.rollouts

    @property
    def pass_rate(self) -> float | None:
        """Successes as a share of the scored rollouts; None when there are none."""
        return sum(self.successes) / len(self.scored) if self.scored else None

    @property
    def mean_reward(self) -> float | None:
        """Over the scored rollouts; None when there are none."""
        return fmean(self.rewards) if self.scored else None

    def votes(self) -> list[tuple[str | None, bool]] | None:
        """(answer, success) of each scored rollout; None when no row has an answer field, not even an empty one."""
        names = [next((name for name in ANSWER_FIELDS if name in row.fields), None) for row in self.scored]
        if not any(names):
            return None
        answers = [_canonical(row.fields.get(name or "")) for row, name in zip(self.scored, names, strict=True)]
        return list(zip(answers, self.successes, strict=True))

    def components(self) -> dict[str, float]:
        """Mean of each reward component over the scored rollouts that have it."""
        values: dict[str, list[float]] = {}
        for row in self.scored:
            for name, value in row.components.items():
                values.setdefault(name, []).append(value)
        return {name: fmean(its) for name, its in values.items()}

    def duplicates(self) -> int:
        """Scored rollouts that say word for word what an earlier one of the task said, reasoning counted."""
        return len(self.scored) - len({transcript(row.items) for row in self.scored})

    def expected(self) -> str | None:
        """The task's expected answer as text, None when no row names one."""
        row = self.rows[0].fields
        return next((_canonical(row[name]) for name in EXPECTED_FIELDS if row.get(name) is not None), None)

    def profile_row(self, planned: int | None) -> dict[str, Any]:
        """One line of ``--tasks``: columns of NeMo Gym's reward profiles and of profiled training blends.

        Rewards and tokens are of the scored rollouts. ``planned``: rollouts that the task was to have. ``sample``:
        the task's row, where the group has it.
        """
        outcomes, passed = Counter(row.outcome for row in self.rows), sum(self.successes)
        infos = [_info(row) for row in self.scored]
        row: dict[str, Any] = {
            "task_id": self.group.task_id,
            "_ng_task_index": self.group.task_number,
            "environment": self.group.environment,
            "pass_rate": self.pass_rate,
            "pass_rate_total": len(self.scored),
            "pass_rate_passed": passed,
            "num_rollouts": len(self.scored),
            "expected_num_rollouts": planned,
            "missing_num_rollouts": None if planned is None else max(0, planned - len(self.scored)),
            "masked": outcomes[Outcome.MASKED],
            "failed": outcomes[Outcome.FAILED],
            "reward_profile_completion_pct": 100.0 * len(self.scored) / planned if planned else None,
            "raw_rewards_and_lengths": infos,
        }
        for name in ("reward", "input_tokens", "output_tokens", "total_tokens"):
            row |= _spread(name, [info[name] for info in infos])
        row |= {f"mean/{name}": value for name, value in self.components().items()}
        return row if self.group.row is None else {**row, "sample": self.group.row}


def transcript(items: Iterable[Item]) -> tuple[object, ...]:
    """All that the model wrote, reasoning and calls included, without ids: equal when two rollouts are the same."""
    return tuple(
        (item.get("name"), item.get("arguments")) if item.get("type") == "function_call" else item_text(item)
        for item in items
        if is_assistant_message(item) or item.get("type") in ("function_call", "reasoning")
    )


def visible_output(items: Sequence[Item]) -> str:
    """All that the model said and called, without its reasoning; ``""`` when that is nothing at all."""
    calls = [f"{call.get('name')}({call.get('arguments')})" for call in function_calls(items)]
    return "\n".join([*calls, output_text(items)]).strip()


def tool_errors(items: Iterable[Item]) -> int:
    """Tool answers that are an error: a JSON object with ``error`` in it, as the model was told."""
    return sum(_is_error(item["output"]) for item in items if item.get("type") == "function_call_output")


def _is_error(output: Any) -> bool:
    if not isinstance(output, str) or '"error"' not in output or not output.lstrip().startswith("{"):
        return False
    try:
        return bool(orjson.loads(output).get("error"))
    except orjson.JSONDecodeError:
        return False


def _info(row: StoredRollout) -> dict[str, Any]:
    tokens = {"input_tokens": row.prompt_tokens, "output_tokens": row.completion_tokens}
    total = row.prompt_tokens + row.completion_tokens
    return {"_ng_rollout_index": row.index, "reward": row.reward, **tokens, "total_tokens": total}


def _spread(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """``name/mean`` and so on; the standard deviation is the sample's, None below two values."""
    if not values:
        return {f"{name}/{stat}": None for stat in ("mean", "std", "max", "min")}
    spread = stdev(values) if len(values) > 1 else None
    return {
        f"{name}/mean": fmean(values),
        f"{name}/std": spread,
        f"{name}/max": max(values),
        f"{name}/min": min(values),
    }


def _canonical(value: Any) -> str | None:
    """An answer as text that equal answers share. What is empty is no answer."""
    if isinstance(value, str):
        return value.strip() or None
    return None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
