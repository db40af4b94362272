"""One solution against its tests, in one sandbox: a process per test, up to the first that fails.

Expected outputs never enter the sandbox; nor does a verdict come out of it, only what was printed or returned.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from gym_ray.environments.code_gen.matching import same_output, same_value
from gym_ray.sandbox import Command, Killed, Limits, Result, Sandbox

WRONG, TIMEOUT, ERROR = -2, -3, -4
"""LiveCodeBench's codes for a failed test; a passed one is True."""
SLACK_CHARS = 1 << 16
"""How much longer than twice the expected output an output may be and still be read."""
_BUSY_CHARS = 1 << 16
"""Above this, comparing is done in a thread."""
_DRIVER = (files("gym_ray.environments.code_gen") / "driver.py.txt").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Tests:
    """Inputs and expected outputs, in order. ``function``: its name (an input is then a line of JSON per argument, an
    output JSON), or None for standard input and output."""

    inputs: list[str]
    outputs: list[str]
    function: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """``results``: True or a code per test that ran. ``about``: the failure, or the time. ``seconds``: wall time."""

    results: list[bool | int]
    about: dict[str, Any]
    seconds: float


async def run_tests(sandbox: Sandbox, code: str, tests: Tests, limits: Limits, total_s: float) -> Report:
    """Run until a test fails, or ``total_s`` seconds are over (the next test then counts as timed out)."""
    began = time.monotonic()
    results: list[bool | int] = []
    for given, expected in zip(tests.inputs, tests.outputs, strict=True):
        left = total_s - (time.monotonic() - began)
        bounded = replace(
            limits, output_bytes=2 * len(expected.encode()) + SLACK_CHARS, wall_s=min(limits.wall_s, left)
        )
        result = await sandbox.run(_command(code, tests.function, given), bounded) if left > 0 else None
        code_or_true, about = await _judge(result, expected, tests.function)
        results.append(code_or_true)
        if code_or_true is not True:
            shown = {"inputs": _short(given), "expected": _short(expected), "error_code": code_or_true}
            return Report(results, shown | about, time.monotonic() - began)
    seconds = time.monotonic() - began
    return Report(results, {"execution time": seconds}, seconds)


def _command(code: str, function: str | None, given: str) -> Command:
    files = {"solution.py": code.encode(errors="replace")}
    if function is None:
        return Command(python=_DRIVER, files=files, stdin=given.encode())
    call = json.dumps({"name": function, "arguments": given}).encode()
    return Command(python=_DRIVER, files={**files, "call.json": call})


async def _judge(result: Result | None, expected: str, function: str | None) -> tuple[bool | int, dict[str, Any]]:
    if result is None or result.killed in (Killed.DEADLINE, Killed.CPU):
        return TIMEOUT, {"error_message": "Time Limit Exceeded"}
    if result.killed == Killed.MEMORY:
        return ERROR, {"error_message": "Memory Limit Exceeded"}
    if not result.ok:
        said = result.stderr.decode(errors="replace").strip()
        return ERROR, {
            "error_message": "Runtime Error",
            "error": _short(said.rpartition("\n")[2]),
            "signal": result.signal,
        }
    printed = result.stdout.decode(errors="replace")
    compare = _same_call if function else same_output
    if len(printed) > _BUSY_CHARS:
        same = await asyncio.to_thread(compare, expected, printed)
    else:
        same = compare(expected, printed)
    return (
        (True, {}) if same and not result.cut else (WRONG, {"error_message": "Wrong Answer", "output": _short(printed)})
    )


def _same_call(expected: str, printed: str) -> bool:
    try:
        return same_value(json.loads(expected), json.loads(printed))
    except (ValueError, RecursionError):
        return False


def _short(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}...(truncated) ...{text[-most // 2 :]}"
