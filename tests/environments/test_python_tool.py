"""python_tool: the tool's answers, sessions apart, what it survives; golden answers in a real sandbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import islice

import pytest
from pydantic import ValidationError

from gym_ray.environments.generate import Difficulty
from gym_ray.environments.python_tool import PythonTool
from gym_ray.environments.python_tool.generate import generate, solve
from gym_ray.sandbox import SandboxUnavailable
from gym_ray.types.errors import RolloutError, UserError
from gym_ray.types.items import assistant_message
from tests.environments.support import golden, grade

CASES = golden("python_tool")


@pytest.fixture
async def server() -> AsyncIterator[PythonTool]:
    try:
        one = PythonTool(exec_timeout_s=30.0, sandbox={"warm": 0})
    except UserError as error:
        pytest.skip(str(error))
    yield one
    await one._pool.aclose()


async def test_golden(server: PythonTool) -> None:
    for row, record in CASES:
        reward = await grade(server, row, record["items"], execute=record["tool_calls_executed"])
        assert reward.value == record["expected_reward"], (record["note"], reward.extra)
        json.dumps(reward.extra)


async def test_what_the_model_sees(server: PythonTool) -> None:
    session = await server.seed(None)

    async def call(code: str) -> str:
        return await server.stateful_python_code_exec(session, code)

    assert await call("x = 5\nx * 2") == "10"
    assert await call("print(x)\nx + 1") == "5\n6"
    assert await call("x;") == ""
    assert "ZeroDivisionError" in await call("1 / 0")
    assert await call("import sympy\nsympy.factor('x**2 - 1')") == "(x - 1)*(x + 1)"
    long = await call("print('a' * 9000 + 'end')")
    assert "characters left out" in long
    assert long.endswith("end")
    assert len(long) < 4100
    assert await call("input()") != ""
    server._exec_s = 1.0
    assert "did not end within 1 s" in await call("while True: pass")
    server._exec_s = 30.0
    assert "NameError" in await call("x")
    assert session["timeouts"] == 1
    await server.close(session)
    await server.close(session)


async def test_memory_bombs_end_the_interpreter_alone(server: PythonTool) -> None:
    session = await server.seed(None)
    shown = await server.stateful_python_code_exec(session, "data = b'x' * 10**11")
    assert "MemoryError" in shown
    assert await server.stateful_python_code_exec(session, "1 + 1") == "2"
    await server.close(session)


async def test_sessions_are_apart_and_calls_take_turns(server: PythonTool) -> None:
    first, second = await server.seed(None), await server.seed(None)
    run = server.stateful_python_code_exec
    await asyncio.gather(run(first, "x = 1"), run(second, "x = 2; open('/tmp/mine', 'w').close()"))
    found = await asyncio.gather(*(run(first, "x += 1\nx") for _ in range(5)), run(second, "x"))
    assert found == ["2", "3", "4", "5", "6", "2"]
    assert await run(first, "import os\nos.listdir('/tmp')") == "[]"
    await server.close(first)
    assert await run(second, "x") == "2"
    await server.close(second)


async def test_a_cancelled_call_loses_the_state_and_not_the_session(server: PythonTool) -> None:
    session = await server.seed(None)
    await server.stateful_python_code_exec(session, "x = 1")
    task = asyncio.create_task(server.stateful_python_code_exec(session, "import time; time.sleep(2)"))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await server.stateful_python_code_exec(session, "'x' in globals()") == "False"
    await server.close(session)


async def test_without_a_sandbox_the_rollout_may_be_tried_again(
    server: PythonTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails() -> None:
        raise SandboxUnavailable("full")

    monkeypatch.setattr(server._pool, "take", fails)
    with pytest.raises(RolloutError) as failed:
        await server.stateful_python_code_exec(await server.seed(None), "1")
    assert (failed.value.kind, failed.value.terminal) == ("provider_unavailable", False)


@pytest.mark.parametrize("level", list(Difficulty))
async def test_generated_rows(server: PythonTool, level: Difficulty) -> None:
    rows = list(islice(generate(10_000, 3, level), 1_000))
    assert len({row["question"] for row in rows}) == 1_000
    assert rows[:7] == list(generate(7, 3, level.value))
    for row in rows[:5]:
        items = [item for turn in solve(row) for item in turn]
        assert (await grade(server, row, items)).value == 1.0
        session = await server.seed(None)
        assert await server.stateful_python_code_exec(session, row["expert_code"]) == row["expected_answer"]
        await server.close(session)
        assert (await grade(server, row, [assistant_message(f"\\boxed{{{row['expert_code']}}}")])).value == 0.0


def test_other_verifiers_make_bad_rows() -> None:
    with pytest.raises(ValidationError, match="verifier_type"):
        PythonTool.Task.model_validate(CASES[0][0] | {"verifier_type": "mcqa"})
