r"""Mathematics with a stateful Python tool: reward 1.0 when the boxed answer equals the expected one, else 0.0.

Each rollout has an interpreter of its own, in a sandbox that its first call takes and its close gives back. Grading is
that of :mod:`gym_ray.environments.math`, in a worker process; a session's own state there is only counts.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

from gym_ray.environments.math import Math
from gym_ray.resources.server import Session, tool
from gym_ray.sandbox import UNSAFE, Killed, Result, Sandbox, SandboxConfig, SandboxPool, SandboxUnavailable
from gym_ray.types.errors import FailureKind, RolloutError, Stage
from gym_ray.types.outcome import Reward
from gym_ray.types.trajectory import Trajectory

PACKAGES = ["mpmath", "numpy", "sympy"]
"""What programs may import beside the standard library, unless the configuration says otherwise."""
MAX_INTERPRETERS = 128
"""The same for interpreters open at once: they wait for the model most of the time."""


@dataclass
class _Held:
    """A session's interpreter, and whose turn it is."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    sandbox: Sandbox | None = None


class PythonTool(Math):
    r"""Mathematics with a Python interpreter that keeps its variables from call to call.

    Options:
        boxed_only: as in ``math``.
        exec_timeout_s: seconds per call.
        max_output_chars: longest output the model sees of a call; its middle is left out.
        sandbox: see :class:`gym_ray.sandbox.SandboxConfig`.
    """

    # Beyond the wait for a sandbox, which ends by itself.
    tool_timeout_s = 720.0

    class Task(Math.Task):
        """A question with one answer, in NeMo Gym's ``ns_tools`` layout."""

        verifier_type: Literal["math_with_judge"] | None = None
        """NeMo Gym's choice of verifier. Only mathematics is known here."""

    def __init__(
        self,
        boxed_only: bool = True,
        exec_timeout_s: float = 10.0,
        max_output_chars: int = 4000,
        sandbox: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(boxed_only)
        self._exec_s, self._max_chars = exec_timeout_s, max_output_chars
        self._pool = SandboxPool(SandboxConfig.read(sandbox, packages=PACKAGES, max_running=MAX_INTERPRETERS))
        self._held: dict[str, _Held] = {}
        self._turns = asyncio.Semaphore(os.cpu_count() or 1)

    async def seed(self, task: Any) -> Session:
        """No sandbox yet: many rollouts never call the tool."""
        return {"id": uuid.uuid4().hex, "calls": 0, "timeouts": 0, "seconds": 0.0}

    @tool
    async def stateful_python_code_exec(self, session: Session, code: str) -> str:
        """Execute Python code in a stateful environment. Variables live on from call to call. Printed output and the
        value of a last expression come back. sympy, numpy and mpmath are there; there is no network."""
        held = self._held.setdefault(session["id"], _Held())
        # Calls of one turn may come together; the interpreter takes them one after the other.
        async with held.lock:
            sandbox = await self._ready(held)
            async with self._turns:
                result = await sandbox.execute(code, self._pool.limits.within(self._exec_s))
        session["calls"] += 1
        session["seconds"] += result.wall_s
        session["timeouts"] += result.killed == Killed.DEADLINE
        return self._shown(result)

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """The grade of ``math``. ``extra``: also NeMo Gym's counts of tool calls and their seconds."""
        reward = await super().verify(task, trajectory, session)
        calls, seconds = session["calls"], session["seconds"]
        reward.extra |= {
            "num_tool_calls": calls,
            "total_tool_execution_time_seconds": seconds,
            "avg_tool_call_time_seconds": seconds / calls if calls else 0.0,
            "tool_timeout_count": session["timeouts"],
        }
        if self._pool.provider == UNSAFE:
            reward.extra["sandbox"] = UNSAFE
        return reward

    async def close(self, session: Session) -> None:
        """Ends the interpreter."""
        held = self._held.pop(session["id"], None)
        if held is not None:
            async with held.lock:
                if held.sandbox is not None:
                    self._pool.give_back(held.sandbox)

    async def _ready(self, held: _Held) -> Sandbox:
        if held.sandbox is not None and held.sandbox.closed:
            # The program took it down.
            self._pool.give_back(held.sandbox)
            held.sandbox = None
        if held.sandbox is None:
            try:
                held.sandbox = await self._pool.take()
            except SandboxUnavailable as error:
                raise RolloutError(FailureKind.PROVIDER_UNAVAILABLE, Stage.TOOL, str(error), terminal=False) from None
        return held.sandbox

    def _shown(self, result: Result) -> str:
        text = (result.stdout + result.stderr).decode(errors="replace").removesuffix("\n")
        if len(text) > self._max_chars:
            half = self._max_chars // 2
            text = f"{text[:half]}\n... ({len(text) - 2 * half} characters left out) ...\n{text[-half:]}"
        return "\n".join(part for part in (text, self._ending(result)) if part)

    def _ending(self, result: Result) -> str:
        lost = "The interpreter was restarted; its variables are gone."
        if result.killed == Killed.DEADLINE:
            return f"TimeoutError: the code did not end within {self._exec_s:g} s. {lost}"
        if result.killed == Killed.MEMORY:
            return f"MemoryError: the code used more than {self._pool.limits.memory_bytes >> 20} MiB. {lost}"
        return f"The code ended the interpreter. {lost}" if result.killed or result.exit is not None else ""
