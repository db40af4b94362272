"""Instructions that a program can check: reward 1.0 when all of a row's are followed, or the share that is.

Length, keywords, case, format, copying, counting: the kinds of IFEval, IF-RLVR and IFBench, see :mod:`.kinds`. Only
form is graded; a right answer to the question is not asked for.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from gym_ray.environments.instruction_following import ifbench, ifeval, ifrlvr  # noqa: F401  # they register checks
from gym_ray.environments.instruction_following.kinds import Follows, bind
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.items import final_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory
from gym_ray.types.validation import explain

GradingMode = Literal["binary", "fraction"]
_FIELDS = ("instruction_id_list", "prompt", "kwargs", "grading_mode")
MAX_TEXT_CHARS = 50_000
"""A longer answer follows nothing: checking has to stay within milliseconds."""


class InstructionFollowing(ResourcesServer):
    """Prompts with constraints on the form of the answer, each checked by a program.

    Options:
        grading_mode: for rows that name none. ``binary``: all or nothing. ``fraction``: the share that is followed.
    """

    pure = True

    class Task(TaskRow):  # type: ignore[no-redef]  # `kwargs` is a field of the rows
        """A prompt with its instructions, in NeMo Gym's layout (at the top, or all under ``verifier_metadata``)."""

        instruction_id_list: list[str] = Field(min_length=1)
        """Kinds of the instructions, such as ``length_constraints:number_words``."""
        kwargs: list[dict[str, Any] | None]
        """Arguments of each, in the same order."""
        grading_mode: GradingMode | None = None
        """``binary``: all or nothing; ``fraction``: the share that is followed."""
        _checks: list[Follows] = PrivateAttr()

        @model_validator(mode="before")
        @classmethod
        def _lift(cls, row: Any) -> Any:
            below = row.get("verifier_metadata") if isinstance(row, dict) else None
            return row | {key: below[key] for key in _FIELDS if key in below} if isinstance(below, dict) else row

        @model_validator(mode="after")
        def _bind(self) -> InstructionFollowing.Task:
            if len(self.kwargs) != len(self.instruction_id_list):
                raise ValueError(f"{len(self.kwargs)} `kwargs` for {len(self.instruction_id_list)} instructions")
            pairs = zip(self.instruction_id_list, self.kwargs, strict=True)
            self._checks = [_bound(name, given or {}) for name, given in pairs]
            return self

    def __init__(self, grading_mode: GradingMode = "binary") -> None:
        super().__init__()
        if grading_mode not in ("binary", "fraction"):
            raise ValueError(f"grading_mode {grading_mode!r} is none of binary, fraction")
        self._grading_mode = grading_mode

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 when all instructions are followed, else 0.0; or the share, by the row's ``grading_mode``.
        ``extra``: ``follow_all_instructions``, ``follow_instruction_list``."""
        text = final_text(trajectory.items[-1:])
        # As IFEval has it: an answer without text follows nothing, though it has no comma either.
        graded = bool(text.strip()) and len(text) <= MAX_TEXT_CHARS
        followed = [graded and check(text) for check in task._checks]
        share = sum(followed) / len(followed)
        value = share if (task.grading_mode or self._grading_mode) == "fraction" else float(all(followed))
        return Reward(value, extra={"follow_all_instructions": all(followed), "follow_instruction_list": followed})


def _bound(name: str, given: dict[str, Any]) -> Follows:
    try:
        return bind(name, given)
    except ValidationError as error:
        raise ValueError(f"{name}: {'; '.join(explain(error))}") from None
