"""Environments that behave, and environments that do not. Loaded by path, as a user's own file is."""
# ruff: noqa: ASYNC220, ASYNC230, ASYNC240, ASYNC251
# Blocking is what some of them are for.

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gym_ray.resources.gymnasium import GymnasiumServer, StepResult
from gym_ray.resources.schema import ToolSpec
from gym_ray.resources.server import ResourcesServer, UnknownTool, tool
from gym_ray.types.errors import MaskRollout, RolloutError, Stage
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow


class Goal(TaskRow):
    goal: int = 0


class Point(BaseModel):
    x: int


class Echo(ResourcesServer):
    """Knows its tools only at run time: one that it lists, and whatever begins with ``say_``."""

    def offered_tools(self) -> dict[str, ToolSpec]:
        return {"echo": ToolSpec("echo", {"type": "function", "name": "echo", "parameters": {}})}

    async def call_tool(self, session: dict[str, Any], name: str, arguments: dict[str, Any]) -> Any:
        if name != "echo" and not name.startswith("say_"):
            raise UnknownTool(name)
        return {name: arguments}

    async def verify(self, task: Goal, trajectory: Any, session: dict[str, Any]) -> float:
        return 1.0


class Counter(ResourcesServer):
    """Counts up to a goal. Its tools misbehave on demand."""

    Task = Goal

    def __init__(self, log: str = "") -> None:
        self.log = log

    async def seed(self, task: Goal) -> dict[str, Any]:
        if task.goal == -1:
            raise ValueError("no seed")
        if task.goal == -2:
            await asyncio.sleep(3600)
        return {"count": 0}

    @tool
    async def add(self, session: dict[str, Any], amount: int = 1) -> str:
        "Add to the counter."
        session["count"] += amount
        return str(session["count"])

    @tool
    async def structure(self, session: dict[str, Any], kind: str) -> Any:
        "Return something that is no string."
        return {"dict": {"a": [1, 2]}, "model": Point(x=3), "none": None, "big": {"n": 2**70}, "surrogate": "\udc80"}[
            kind
        ]

    @tool
    async def fail(self, session: dict[str, Any], how: str) -> str:
        "Go wrong."
        if how == "exit":
            sys.exit(3)
        if how == "cancelled":
            raise asyncio.CancelledError
        if how == "timeout":
            raise TimeoutError("mine")
        if how == "give up":
            raise RolloutError("counter:broken", Stage.TOOL, "cannot go on")
        raise KeyError(how)

    @tool
    async def sleep(self, session: dict[str, Any], seconds: float) -> str:
        "Answer late."
        await asyncio.sleep(seconds)
        return "slept"

    @tool
    async def pid(self, session: dict[str, Any]) -> str:
        "Where this session lives."
        return str(os.getpid())

    async def verify(self, task: Goal, trajectory: Any, session: dict[str, Any]) -> Reward | float:
        if trajectory.text == "raise":
            raise ZeroDivisionError("by\nzero")
        if trajectory.text == "nan":
            return float("nan")
        if trajectory.text == "mask":
            raise MaskRollout("judge_failed", "no judge")
        if trajectory.text == "wait":
            await asyncio.sleep(3600)
        if trajectory.text == "unpicklable":
            return Reward(1.0, extra={"f": lambda: 0})
        return Reward(float(session["count"] == task.goal), extra={"count": session["count"]})

    async def close(self, session: dict[str, Any]) -> None:
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{session['count']}\n")


class Pure(ResourcesServer):
    pure = True

    async def verify(self, task: TaskRow, trajectory: Any, session: dict[str, Any]) -> float:
        return 0.5


class Walk(GymnasiumServer):
    """Walk right until the end."""

    Task = Goal
    closed = 0

    async def seed(self, task: Goal) -> dict[str, Any]:
        return {"at": 0}

    async def reset(self, task: Goal, session: dict[str, Any]) -> str:
        if task.goal == -1:
            raise ValueError("no reset")
        return f"at 0 of {task.goal}"

    async def step(self, task: Goal, action: list[dict[str, Any]], session: dict[str, Any]) -> StepResult:
        text = action[-1]["content"][0]["text"]
        if text == "fall":
            raise RuntimeError("fell")
        session["at"] += 1
        done = session["at"] >= task.goal
        return StepResult(observation=None if done else f"at {session['at']}", reward=1, terminated=done)

    async def close(self, session: dict[str, Any]) -> None:
        Walk.closed += 1


class Crasher(ResourcesServer):
    """A cpu-bound verifier that does what the answer says."""

    cpu_bound = True

    async def seed(self, task: TaskRow) -> dict[str, Any]:
        return {"lock": threading.Lock()} if task.prompt_text == "unpicklable" else {"seeded": True}

    async def verify(self, task: TaskRow, trajectory: Any, session: dict[str, Any]) -> Reward | float:
        what, _, argument = trajectory.text.partition(" ")
        print("chatter on standard output")
        os.write(1, b"raw chatter\n")
        if what == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif what == "exit":
            os._exit(int(argument))
        elif what == "sysexit":
            sys.exit(1)
        elif what == "loop":
            while True:
                pass
        elif what == "sleep":
            time.sleep(float(argument))
        elif what == "raise":
            raise ValueError(argument)
        elif what == "mask":
            raise MaskRollout("judge_failed", argument)
        elif what == "child":
            child = subprocess.Popen(["sleep", "3600"])
            Path(argument).write_text(f"{child.pid} {os.getpid()}")
            time.sleep(3600)
        elif what == "alarm":
            return self._alarmed()
        elif what == "unpicklable":
            return Reward(1.0, extra={"f": lambda: 0})
        await asyncio.sleep(0)
        return Reward(float(session["seeded"]), extra={"pid": os.getpid(), "turns": len(trajectory.turns)})

    def _alarmed(self) -> float:
        def ring(*_: object) -> None:
            raise TimeoutError

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            while True:
                pass
        except TimeoutError:
            return 0.25


class CpuBoundGroup(ResourcesServer):
    cpu_bound = True

    async def verify_group(self, task: TaskRow, trajectories: Any) -> list[float]:
        return [float(len(trajectory.text)) for trajectory in trajectories]


class DiesOnLoad(Crasher):
    """Loads here, and kills every other process that loads it."""

    def __init__(self, home: int) -> None:
        if os.getpid() != home:
            os._exit(9)


class Group(ResourcesServer):
    async def verify_group(self, task: TaskRow, trajectories: Any) -> list[Any]:
        if trajectories[0].text == "short":
            return [1.0]
        best = max(len(trajectory.text) for trajectory in trajectories)
        return [float(len(trajectory.text) == best) for trajectory in trajectories]


class TokenReader(ResourcesServer):
    needs_tokens = True

    async def verify(self, task: TaskRow, trajectory: Any, session: dict[str, Any]) -> float:
        return float(sum(len(turn.tokens.sampled) for turn in trajectory.turns if turn.tokens))


class TokenBlind(TokenReader):
    needs_tokens = False


class SharesState(Counter):
    """Keeps what belongs to the session on itself."""

    async def seed(self, task: Goal) -> dict[str, Any]:
        self.state = {"count": 0}
        return self.state

    @tool
    async def add(self, session: dict[str, Any], amount: int = 1) -> str:
        "Add to the counter."
        self.state["count"] += amount
        return ""


class Blocks(Counter):
    @tool
    async def add(self, session: dict[str, Any], amount: int = 1) -> str:
        "Add to the counter."
        time.sleep(0.12)
        return await Counter.add(self, session, amount)


class ClosesOnce(Counter):
    async def close(self, session: dict[str, Any]) -> None:
        del session["count"]


class ChangesTask(Counter):
    async def verify(self, task: Goal, trajectory: Any, session: dict[str, Any]) -> float:
        task.goal += 1
        return float(session["count"] == task.goal - 1)


class BadReward(Counter):
    async def verify(self, task: Goal, trajectory: Any, session: dict[str, Any]) -> Reward:
        return Reward(1.0, {"a": 0.25, "b": 0.25}, {"not json": {1, 2}})


class NoVerify(ResourcesServer):
    pass


class SyncTool(Counter):
    @tool
    def add(self, session: dict[str, Any]) -> str:
        "Not async."
        return ""


class Untyped(Counter):
    @tool
    async def add(self, session: dict[str, Any], amount) -> str:  # type: ignore[no-untyped-def]
        "No annotation."
        return ""
