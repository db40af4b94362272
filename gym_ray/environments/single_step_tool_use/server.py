"""The next step of a conversation with tools: reward 1.0 when it is the expected one, else 0.0.

The expected step is a function call, several at once, or a message (any message will do). Calls win over words said
beside them. Strings in arguments need only share enough words; see :mod:`.comparison`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator

from gym_ray.environments.calls import arguments_of, compared, first_calls, first_turn, matching
from gym_ray.environments.single_step_tool_use.comparison import Category, Comparison, Thresholds
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.items import Item, is_assistant_message, item_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

RewardMode = Literal["binary_strict", "fractional", "f1"]


class MessageAction(BaseModel):
    """Say something."""

    type: Literal["message"]
    content: str = ""
    """What the recorded expert said; not compared."""


class CallAction(BaseModel):
    """Make one call."""

    type: Literal["function_call"]
    name: str
    """Name of the function."""
    arguments: dict[str, Any]
    """Its arguments, an object or its JSON text."""

    @field_validator("arguments", mode="before")
    @classmethod
    def _parse(cls, arguments: Any) -> Any:
        return arguments_of({"arguments": arguments})


class BatchAction(BaseModel):
    """Make several calls, in any order."""

    type: Literal["function_call_batch"]
    calls: list[CallAction] = Field(min_length=1)
    """The calls."""


Action = Annotated[MessageAction | CallAction | BatchAction, Field(discriminator="type")]


class SingleStepToolUse(ResourcesServer):
    """The next step of a conversation: the expected function calls, or words where words are due.

    Options:
        word_count_similarity_threshold: shared words, as a share of both strings' words, from which strings agree
            (0.5 at most: the same words are half of both).
        floating_point_comparison_threshold: how far numbers with a fraction may be apart.
        parallel_tool_call_rewarding: whether the number of calls counts. Off: more calls than expected cost nothing.
        allow_subset, allow_superset: with rewarding on, whether fewer or more calls than expected can earn anything.
        parallel_tool_call_reward_mode: with rewarding on, what imperfect answers earn: ``binary_strict`` nothing,
            ``fractional`` the share of the calls that were needed, ``f1`` twice the matches over all calls of both.
    """

    pure = True

    class Task(TaskRow):
        """A conversation so far with its next step, in NeMo Gym's layout."""

        expected_action: Action
        """``{type: function_call, name, arguments}``, ``{type: function_call_batch, calls}`` or ``{type: message}``."""

    def __init__(
        self,
        word_count_similarity_threshold: float = 0.1,
        floating_point_comparison_threshold: float = 1e-6,
        parallel_tool_call_rewarding: bool = False,
        allow_subset: bool = False,
        allow_superset: bool = False,
        parallel_tool_call_reward_mode: RewardMode = "binary_strict",
    ) -> None:
        super().__init__()
        if parallel_tool_call_reward_mode not in ("binary_strict", "fractional", "f1"):
            raise ValueError(f"parallel_tool_call_reward_mode: no mode {parallel_tool_call_reward_mode!r}")
        self._comparison = Comparison(Thresholds(word_count_similarity_threshold, floating_point_comparison_threshold))
        self._counted = parallel_tool_call_rewarding
        self._subset, self._superset = allow_subset, allow_superset
        self._mode = parallel_tool_call_reward_mode

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 for the expected step, else 0.0; parts of it for several calls, by the reward mode.
        ``extra``: ``category``, why."""
        action, calls = task.expected_action, first_calls(trajectory.items)
        if not calls and not _speaks(trajectory.items):
            value, category = 0.0, Category.NOTHING
        elif isinstance(action, MessageAction):
            value, category = (0.0, Category.NO_MESSAGE) if calls else (1.0, Category.MESSAGE)
        elif not calls:
            value, category = 0.0, Category.NO_CALL
        else:
            value, category = self._grade([action] if isinstance(action, CallAction) else action.calls, calls)
        return Reward(value, extra={"category": str(category)})

    def _grade(self, wanted: list[CallAction], made: list[Item]) -> tuple[float, Category]:
        if not self._admissible(len(wanted), len(made)):
            return 0.0, Category.COUNT
        given = [(call.get("name", ""), arguments_of(call)) for call in compared(made)]
        problems = [[self._comparison.problem(want.name, want.arguments, *call) for call in given] for want in wanted]
        fitting = [[position for position, problem in enumerate(row) if problem is None] for row in problems]
        pairs = matching(fitting)
        value = self._value(len(pairs), len(wanted), len(made))
        if value == 1.0:
            return value, Category.CALL if len(wanted) == 1 else Category.BATCH
        return value, _why(problems, pairs, len(made))

    def _admissible(self, wanted: int, made: int) -> bool:
        if not self._counted or made == wanted:
            return True
        return self._subset if made < wanted else self._superset

    def _value(self, matched: int, wanted: int, made: int) -> float:
        if self._counted and self._mode == "f1":
            return 2 * matched / (wanted + made)
        needed = min(wanted, made) if self._counted and self._subset else wanted
        if self._counted and self._mode == "fractional":
            return matched / needed
        return float(matched == needed)


def _speaks(items: list[Item]) -> bool:
    return any(is_assistant_message(item) and item_text(item).strip() for item in first_turn(items))


def _why(problems: list[list[Category | None]], pairs: dict[int, int], made: int) -> Category:
    """The reason of the first expected call that nobody made: of the call that came nearest, if any."""
    missing = [number for number in range(len(problems)) if number not in pairs]
    if not missing or len(pairs) == made:
        return Category.COUNT
    reasons = [problem for problem in problems[missing[0]] if problem is not None]
    return next((reason for reason in reasons if reason is not Category.TOOL), Category.TOOL)
