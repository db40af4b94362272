"""code_gen: extraction and comparison by themselves, then the golden answers in a real sandbox."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

import pytest
from pydantic import ValidationError

from gym_ray.environments.code_gen import CodeGen
from gym_ray.environments.code_gen.extract import last_block
from gym_ray.environments.code_gen.generate import generate, solve
from gym_ray.environments.code_gen.matching import same_output, same_value
from gym_ray.environments.generate import Difficulty
from gym_ray.types.errors import MaskRollout, UserError
from gym_ray.types.items import assistant_message
from tests.environments.support import golden, grade

CASES = golden("code_gen")
PARAMS = {"input": "?"}


@pytest.fixture
async def server() -> AsyncIterator[CodeGen]:
    try:
        one = CodeGen(sandbox={"warm": 0})
    except UserError as error:
        pytest.skip(str(error))
    yield one
    await one._pool.aclose()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nx\n```", "x"),
        ("a\n```\nx\ny\n```\nb", "x\ny"),
        ("```\none\n```\n```python\ntwo\n```", "two"),
        ("```python\nx", ""),
        ("x", ""),
        ("```\none\n```\n```python\ncut", ""),
        ("", ""),
    ],
)
def test_last_block(text: str, code: str) -> None:
    assert last_block(text) == code


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("1 2\n3", "1 2 \n 3\n\n", True),
        ("1\n2", "1 2", False),
        ("YES", "yes", True),
        ("Yes it is", "yes it is", False),
        ("0.3333333", "0.33333331", True),
        ("1000000", "1000000.5", True),
        ("10", "10.1", False),
        ("50000000000000000", "50000000000000001", False),
        ("1e2", "100", True),
        ("1 a", "1.0 a", False),
        ("nan", "nan", True),
        ("1.0", "nan", False),
        ("1.0", "inf", False),
        ("1.0", "sNaN", False),
        ("1.0", "1e999999999999999999999", False),
        ("", "", True),
        ("", "x", False),
    ],
)
def test_same_output(expected: str, printed: str, same: bool) -> None:
    assert same_output(expected, printed) is same


@pytest.mark.parametrize(
    ("expected", "value", "same"),
    [
        (1, 1, True),
        (1, 1.000001, True),
        (1, 2, False),
        (1.5, "1.5", True),
        ([1.0, 2.0], [1.000001, 2], True),
        ([1, 2], [2, 1], False),
        ([[1.0]], [[1.000001]], False),
        (True, 1.0, True),
        (None, [], False),
        ({"a": 1}, {"a": 1}, True),
    ],
)
def test_same_value(expected: Any, value: Any, same: bool) -> None:
    assert same_value(expected, value) is same


async def test_golden(server: CodeGen) -> None:
    for row, record in CASES:
        reward = await grade(server, row, record["items"])
        assert reward.value == record["expected_reward"], (record["note"], reward.extra)
        json.dumps(reward.extra)


@pytest.mark.parametrize("level", list(Difficulty))
async def test_experts_pass_and_their_neighbours_do_not(server: CodeGen, level: Difficulty) -> None:
    rows = list(generate(6, 5, level))
    assert len({row["responses_create_params"]["input"][-1]["content"] for row in rows}) == 6
    for row in rows:
        assert (await grade(server, row, solve(row)[0])).value == 1.0
    other = [row for row in rows[1:] if row["verifier_metadata"] != rows[0]["verifier_metadata"]]
    assert other
    assert (await grade(server, other[0], solve(rows[0])[0])).value == 0.0


@pytest.mark.parametrize("level", list(Difficulty))
def test_rows_are_the_same_again_and_never_one_twice(level: Difficulty) -> None:
    rows = list(islice(generate(10_000, 3, level), 1_000))
    assert len({str(row["responses_create_params"]["input"]) for row in rows}) == 1_000
    assert rows[:7] == list(generate(7, 3, level.value))


@pytest.mark.parametrize("source", ["while True: pass", "import time; time.sleep(60)", "while True: print('x' * 9999)"])
async def test_what_never_ends_is_over_time(source: str) -> None:
    try:
        server = CodeGen(unit_test_timeout_secs=0.5, sandbox={"warm": 0})
    except UserError as error:
        pytest.skip(str(error))
    reward = await grade(server, CASES[0][0], [assistant_message(f"```python\n{source}\n```")])
    await server._pool.aclose()
    assert reward.value == 0.0
    assert reward.extra["result"] == [-3]


async def test_packed_and_flat_rows(server: CodeGen) -> None:
    tests = {"inputs": ["1\n"], "outputs": ["2\n"]}
    packed = base64.b64encode(zlib.compress(json.dumps(tests).encode())).decode()
    right = [assistant_message("```\nprint(int(input()) + 1)\n```")]
    wrong = [assistant_message("```\nprint(int(input()) + 2)\n```")]
    for unit_tests in (tests, {"packed": packed, "fn_name": None}):
        row = {"responses_create_params": PARAMS, "unit_tests": unit_tests, "difficulty": "hard"}
        assert (await grade(server, row, right)).value == 1.0
        assert (await grade(server, row, wrong)).value == 0.0


def test_bad_rows_are_refused() -> None:
    for tests in ({"inputs": ["1"], "outputs": []}, {"inputs": [], "outputs": []}, {}):
        with pytest.raises(ValidationError, match="as many `inputs` as `outputs`"):
            CodeGen.Task.model_validate({"responses_create_params": PARAMS, "verifier_metadata": {"unit_tests": tests}})


async def test_without_a_sandbox_nothing_is_scored(server: CodeGen, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(image: str | None = None) -> None:
        from gym_ray.sandbox import SandboxUnavailable

        raise SandboxUnavailable("full")

    monkeypatch.setattr(server._pool, "take", fails)
    with pytest.raises(MaskRollout) as masked:
        await grade(server, CASES[0][0], CASES[0][1]["items"])
    assert masked.value.kind == "provider_unavailable"
