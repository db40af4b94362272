"""Competitive programming: reward 1.0 when the program in the answer passes every hidden test, else 0.0."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gym_ray.environments.code_gen.extract import breaks_reasoning_format, last_block
from gym_ray.environments.code_gen.running import Report, Tests, run_tests
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.sandbox import UNSAFE, SandboxConfig, SandboxPool, SandboxUnavailable
from gym_ray.types.errors import FailureKind, MaskRollout
from gym_ray.types.items import item_text, output_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

TOTAL_S = 600.0
"""Most wall seconds for all tests of one answer."""


class UnitTests(BaseModel):
    """Tests in LiveCodeBench's layout, or packed: base64 of zlib-compressed JSON with `inputs` and `outputs`."""

    model_config = ConfigDict(extra="allow")

    inputs: list[str] = Field(default_factory=list)
    outputs: list[str] = Field(default_factory=list)
    fn_name: str | None = None
    packed: str | None = None

    @model_validator(mode="after")
    def _check(self) -> UnitTests:
        if self.packed is None and (not self.inputs or len(self.inputs) != len(self.outputs)):
            found = f"{len(self.inputs)} inputs and {len(self.outputs)} outputs"
            raise ValueError(f"`unit_tests` needs as many `inputs` as `outputs`, and one at least; it has {found}")
        return self

    def unpacked(self) -> Tests:
        """Plain tests. May take long: some rows have megabytes."""
        if self.packed is None:
            return Tests(self.inputs, self.outputs, self.fn_name or None)
        found = json.loads(zlib.decompress(base64.b64decode(self.packed)))
        return Tests(found["inputs"], found["outputs"], self.fn_name or None)


class Metadata(BaseModel):
    """The verifier's part of a row."""

    model_config = ConfigDict(extra="allow")

    unit_tests: UnitTests
    difficulty: str | None = None


class CodeGen(ResourcesServer):
    """Programs that must pass unit tests, by standard input or by calling a function.

    Options:
        unit_test_timeout_secs: CPU seconds per test; twice that in wall time.
        reasoning_format_penalty: the reward when thinking tags stand in the answer.
        sandbox: see :class:`gym_ray.sandbox.SandboxConfig`.
    """

    verify_timeout_s = 2 * TOTAL_S + 60.0

    class Task(TaskRow):
        """A programming problem with hidden tests, in NeMo Gym's layout."""

        verifier_metadata: Metadata
        """`unit_tests` (`inputs`, `outputs`, `fn_name`) and `difficulty`. NeMo Gym 0.7's flat rows are read as well."""

        @model_validator(mode="before")
        @classmethod
        def _gather(cls, row: Any) -> Any:
            if isinstance(row, dict) and "verifier_metadata" not in row and "unit_tests" in row:
                flat = {key: row[key] for key in ("unit_tests", "difficulty") if key in row}
                return {**row, "verifier_metadata": flat}
            return row

    def __init__(
        self,
        unit_test_timeout_secs: float = 10.0,
        reasoning_format_penalty: float = 0.0,
        sandbox: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._test_s, self._penalty = unit_test_timeout_secs, reasoning_format_penalty
        self._pool = SandboxPool(SandboxConfig.read(sandbox))

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 when all tests pass. ``extra``: NeMo Gym's fields (the card lists them)."""
        text = output_text(trajectory.items)
        extra: dict[str, Any] = {"difficulty": task.verifier_metadata.difficulty}
        code = last_block(text)
        if not code:
            return Reward(0.0, extra=extra)
        report = await self._run(task.verifier_metadata.unit_tests, code)
        reasoning = "".join(item_text(item) for item in trajectory.items if item.get("type") == "reasoning")
        broken = breaks_reasoning_format(text, reasoning)
        passed = all(result is True for result in report.results)
        extra |= {
            "extracted_model_code": code,
            "result": report.results,
            "metadata": report.about,
            "unit_tests_time_taken": report.seconds,
            "reasoning_format_violation_rate": float(broken),
        }
        if self._pool.provider == UNSAFE:
            extra["sandbox"] = UNSAFE
        return Reward(self._penalty if broken else float(passed), extra=extra)

    async def _run(self, unit_tests: UnitTests, code: str) -> Report:
        tests = unit_tests.unpacked() if unit_tests.packed is None else await asyncio.to_thread(unit_tests.unpacked)
        limits = replace(self._pool.limits, cpu_s=self._test_s, wall_s=2 * self._test_s)
        total_s = min(TOTAL_S, (2 * self._test_s + 1) * len(tests.inputs) + 5)
        try:
            async with self._pool.sandbox() as sandbox:
                return await run_tests(sandbox, code, tests, limits, total_s)
        except SandboxUnavailable as error:
            raise MaskRollout(FailureKind.PROVIDER_UNAVAILABLE, str(error)) from None
