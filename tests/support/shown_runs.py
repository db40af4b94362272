"""A run with all that a page can show: tools, reasoning, tokens of two policies, lost rollouts, and hostile text."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import orjson
import yaml

from gym_ray.collect.journal.frames import OUTCOME_CODES, Kind
from gym_ray.collect.journal.record import encode
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.collect.rundir import RunDir
from gym_ray.types.items import assistant_message, function_call, function_call_output, reasoning, user_message
from gym_ray.types.outcome import Failure, Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage
from tests.support.scripted_runs import write_run

HOSTILE = (
    "<img src=x onerror='window.owned=1'></script><script>window.owned=1</script><!-- "
    "\x1b[31mred\x1b]0;owned\x07 \u202egnp.exe\u2066 \u200bjavascript:alert(1) {{SCRIPT}} \u2028 end"
)
"""Markup, script, the end of a script block, terminal escapes, bidirectional and invisible characters."""
EVIL = "evil<b>\u202e"
"""An environment's name that is not what it seems."""
WEIGHTS = str(files("gym_ray.models.tiny").joinpath("weights"))
"""Where the tokenizer of the token ids is."""
START = 1_700_000_000.0


def shown(task: int, index: int, *, environment: str = "office", reward: float | None = 1.0, said: str = "") -> Rollout:
    """A rollout of two turns with a tool call between, the second by a newer policy; times are made up."""
    items = [
        reasoning(f"I should look up {task}. {said}"),
        function_call("find_person", orjson.dumps({"name": f"Ada {index}"}).decode(), "call_1"),
        function_call_output("call_1", '{"error": "no such person"}' if index % 2 else '{"id": 7}'),
        assistant_message(f"It is person 7 of task {task}. {said}"),
    ]
    first = TurnTokens([1, 2, 3], [4, 5, 6], [-0.01, -1.2, -3.5], 3)
    second = TurnTokens([1, 2, 3, 4, 5, 6, 7], [8, 9], [-0.2, -7.0], 4)
    turns = [
        Turn(1, FinishReason.TOOL_CALLS, Usage(3, 3, 0, 2), first, 0.5),
        Turn(3, FinishReason.STOP, Usage(7, 2, 3, 0), second, 0.25),
    ]
    row = {"responses_create_params": {"input": [user_message("Who?")]}, "expected": said or "7", "n": task}
    began = START + task + index / 8
    return Rollout(
        task_number=task,
        task_id=f"{environment}-{task}",
        rollout_index=index,
        environment=environment,
        agent="ToolLoop",
        task=orjson.dumps(row),
        params={"temperature": 1.0},
        outcome=Outcome.SCORED if reward is not None else Outcome.MASKED,
        trajectory=Trajectory([user_message(f"Who is person {task}? {said}")], items, turns, model="tiny"),
        reward=None if reward is None else Reward(reward, {"found": reward / 2, "polite": reward / 2}),
        failure=None if reward is not None else Failure("judge_failed", "verify", f"the judge was away {said}"),
        started=began,
        finished=began + 2.0,
        timings={"seed": 0.125, "model": 0.75, "tools": 0.5, "verify": 0.25, "total": 2.0},
    )


def lost(task: int, index: int, *, environment: str = "office", reason: str = "the session is gone") -> Rollout:
    """A failed rollout."""
    rollout = shown(task, index, environment=environment)
    rollout.outcome, rollout.reward, rollout.trajectory = Outcome.FAILED, None, None
    rollout.failure = Failure("session_lost", "tool", reason)
    return rollout


def shown_rollouts() -> list[Rollout]:
    """Nine tasks of four rollouts: seven of ``office``, two of :data:`EVIL`; each outcome occurs in both."""
    made = []
    for task in range(9):
        name, said = ("office", "") if task < 7 else (EVIL, HOSTILE)
        made += [shown(task, index, environment=name, reward=(task + index) % 3 / 2, said=said) for index in range(2)]
        made.append(shown(task, 2, environment=name, reward=None if task % 4 == 3 else 0.25, said=said))
        given = {"environment": name}
        made.append(
            lost(task, 3, reason=said or "gone", **given) if task in (2, 8) else shown(task, 3, said=said, **given)
        )
    return made


def shown_run(folder: Path, format: str = "parquet", shards: int = 2) -> str:
    """The finished run of :func:`shown_rollouts`."""
    return write_run(folder, shown_rollouts(), per_task=4, format=format, shards=shards)


class LiveRun:
    """A run in progress whose journal is written as a test goes on."""

    def __init__(self, folder: Path, planned: int = 36) -> None:
        self.run = RunDir.create(str(folder))
        self.address = self.run.address
        plan = {"rollouts": planned, "rollouts_per_task": 4, "environments": {}, "tasks": planned // 4, "bad_rows": 0}
        self.run.write("config.yaml", yaml.safe_dump({"collect": {"rollouts_per_task": 4}}).encode())
        self.run.write("journal/plan.json", orjson.dumps(plan))
        self.writer = JournalWriter(self.run, "worker")

    def start(self, rollout: Rollout) -> None:
        """Note that it begins."""
        self.writer.start(rollout.task_number, rollout.rollout_index)

    def finish(self, *rollouts: Rollout) -> None:
        """Note that these ended, and see to it that it is written."""
        for one in rollouts:
            value = None if one.reward is None else one.reward.value
            key = one.task_number, one.rollout_index
            self.writer.append(Kind.ROLLOUT, *key, OUTCOME_CODES[one.outcome], value, encode(one))
        self.writer.flush()
