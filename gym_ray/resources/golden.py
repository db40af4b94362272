"""Golden trajectories: recorded answers with the verdict that each must get.

One JSON object per line. Which task: ``task``, an index into the examples or a whole row. What the model
did: ``items`` (output items), or for a gymnasium-style environment ``turns`` (a list of output items per
step). What must come out: ``expected_reward`` (within ``tolerance``), or ``expected_mask``, a failure kind.
With ``tool_calls_executed`` the ``function_call`` items really run against the session, and what they answer
is inserted after them. ``note`` says what the case shows.

Where the environment asks a judge, ``judge`` is what that says: one text per question, in the order in which the
questions are asked, null for a call that fails. All of them must be asked for. The scripts of a group's lines are
one script, in the lines' order.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import orjson
from pydantic import Field, ValidationError, model_validator

from gym_ray.resources.host import Host
from gym_ray.resources.judge import JudgeReply
from gym_ray.resources.protocol import ResourcesSession
from gym_ray.resources.toolbox import error_text
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage, UserError
from gym_ray.types.items import Item, assistant_message, function_call_output, input_items, user_message
from gym_ray.types.outcome import Reward
from gym_ray.types.settings import Settings
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage
from gym_ray.types.validation import explain

T = TypeVar("T")


class Golden(Settings):
    """One recorded answer (see the module)."""

    task: int | dict[str, Any]
    """Index into the examples, or the row itself."""
    items: list[dict[str, Any]] | None = None
    """What the model said and called."""
    turns: list[list[dict[str, Any]]] | None = None
    """The same, one list per step."""
    tool_calls_executed: bool = False
    """Run the function calls against the session."""
    judge: list[str | None] = Field(default_factory=list)
    """What the judge answers, in order; null: the call fails."""
    expected_reward: float | None = None
    """The reward it must get."""
    expected_mask: str | None = None
    """The failure kind it must be masked with."""
    tolerance: float = Field(default=1e-6, ge=0)
    """How far the reward may be off."""
    note: str = ""
    """What the case shows: right, wrong, malformed, adversarial, ..."""

    @model_validator(mode="after")
    def _check(self) -> Golden:
        if (self.items is None) == (self.turns is None):
            raise ValueError("give either `items` or `turns`")
        if (self.expected_reward is None) == (self.expected_mask is None):
            raise ValueError("give either `expected_reward` or `expected_mask`")
        return self

    def row(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """The task's row. Raises ``IndexError`` when there is no such example."""
        if isinstance(self.task, dict):
            return self.task
        if self.task < 0:
            raise IndexError(self.task)
        return examples[self.task]

    @property
    def title(self) -> str:
        """A short name for messages."""
        task = f"task {self.task}" if isinstance(self.task, int) else "its own task"
        return f"{task} ({self.note})" if self.note else task


def load_golden(path: str | Path) -> list[Golden]:
    """Read a golden file.

    Raises:
        UserError: it cannot be read, or one line per bad row (file, line, field).
    """
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    found, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(Golden.model_validate(orjson.loads(line)))
        except orjson.JSONDecodeError as error:
            problems.append(f"{path}:{number}: not JSON: {error}")
        except ValidationError as error:
            problems += (f"{path}:{number}: {problem}" for problem in explain(error))
    if problems:
        raise UserError("\n".join(problems))
    return found


_script: ContextVar[deque[str | None] | None] = ContextVar("judge_script", default=None)


@contextmanager
def scripted(replies: deque[str | None]) -> Iterator[None]:
    """Judges of :class:`ScriptedJudges` asked within say ``replies``, which are taken out as they are said."""
    token = _script.set(replies)
    try:
        yield
    finally:
        _script.reset(token)


class ScriptedJudges:
    """Judges by any name (``Judges``), each of which says what :func:`scripted` has for it."""

    def __contains__(self, name: object) -> bool:
        return True

    def open(self, name: str) -> ScriptedJudges:
        """See ``Judges``."""
        return self

    async def respond(self, items: list[Item], params: Mapping[str, Any]) -> JudgeReply:
        """See ``JudgeModel``."""
        replies = _script.get()
        if not replies:
            raise RolloutError(FailureKind.JUDGE_FAILED, Stage.MODEL, "the golden line's `judge` has nothing to say")
        said = replies.popleft()
        if said is None:
            raise RolloutError(FailureKind.TRANSPORT_UNREACHABLE, Stage.MODEL, "the golden line says so")
        return JudgeReply([assistant_message(said)])

    async def close(self) -> None:
        """See ``JudgeModel``."""


class Replay:
    """A golden trajectory on its way through a session, one operation at a time.

    ``measure(label, awaitable)`` awaits each operation. ``verdict``: the Reward or the mask it came to; None
    until then, and for an environment that only grades groups. ``unasked``: what its judge still has to say.
    """

    def __init__(
        self, host: Host, row: dict[str, Any], golden: Golden, measure: Callable[[str, Awaitable[Any]], Awaitable[Any]]
    ) -> None:
        self.golden, self.row = golden, row
        self.trajectory = Trajectory(input_items(row["responses_create_params"]))
        self.verdict: Reward | MaskRollout | None = None
        self.unasked = deque(golden.judge)
        self._host, self._measure = host, measure

    async def operations(self) -> AsyncGenerator[None, None]:
        """Does the next operation per iteration; the session is closed whatever happens.

        Raises:
            RolloutError: what would fail the rollout.
        """
        session: ResourcesSession = await self._measure("seed", self._host.seed(self.row, self.golden.note))
        try:
            yield
            act = self._converse(session) if self.golden.turns is None else self._play(session)
            async for _ in act:
                yield
            if not self._host.scores_groups:
                await self._verify(session)
        finally:
            await self._measure("close", session.close())

    async def run(self) -> None:
        """All operations."""
        async for _ in self.operations():
            pass

    async def _verify(self, session: ResourcesSession) -> None:
        try:
            with scripted(self.unasked):
                self.verdict = await self._measure("verify", session.verify(self.trajectory))
        except MaskRollout as mask:
            self.verdict = mask

    async def _converse(self, session: ResourcesSession) -> AsyncIterator[None]:
        for item in self.golden.items or ():
            self.trajectory.items.append(item)
            if self.golden.tool_calls_executed and item.get("type") == "function_call":
                output = await self._call(session, item["name"], item.get("arguments") or "{}")
                self.trajectory.items.append(function_call_output(item.get("call_id", ""), output))
                yield
        self._turn_ended()

    async def _call(self, session: ResourcesSession, name: str, arguments: str) -> str:
        # What an agent does: malformed arguments are answered to the model.
        try:
            parsed = json.loads(arguments)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            return error_text(f"the arguments of {name!r} are not a JSON object")
        output: str = await self._measure(f"tool `{name}`", session.call_tool(name, parsed))
        return output

    async def _play(self, session: ResourcesSession) -> AsyncIterator[None]:
        trajectory = self.trajectory
        if session.observation is not None:
            self.trajectory.items.append(user_message(session.observation))
        for action in self.golden.turns or ():
            trajectory.items += action
            self._turn_ended()
            result = await self._measure("step", session.step(action))
            trajectory.step_rewards.append(result.reward)
            trajectory.items += _shown(result.tool_outputs, result.observation)
            yield
            if result.terminated or result.truncated:
                trajectory.finish_reason = FinishReason.TERMINATED if result.terminated else FinishReason.TRUNCATED
                return

    def _turn_ended(self) -> None:
        self.trajectory.turns.append(Turn(len(self.trajectory.items) - 1, FinishReason.STOP, Usage()))


def _shown(tool_outputs: dict[str, str], observation: str | None) -> list[Item]:
    items = [function_call_output(call_id, output) for call_id, output in tool_outputs.items()]
    return items if observation is None else [*items, user_message(observation)]
