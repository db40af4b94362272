"""swe: what the model sees, what is carried over to the tests, and what no trick gets; all in a real sandbox."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gym_ray.environments import catalog
from gym_ray.environments.generate import Difficulty
from gym_ray.environments.swe import Swe
from gym_ray.environments.swe.generate import generate, solve
from gym_ray.environments.swe.repository import is_inside, patch, unpack
from gym_ray.types.errors import UserError
from gym_ray.types.items import assistant_message
from tests.environments.support import golden, grade, rows_of

ROW = rows_of(catalog.examples_path("swe"))[0]


@pytest.fixture
async def server() -> AsyncIterator[Swe]:
    try:
        one = Swe(command_timeout_s=20.0, max_output_chars=400)
    except UserError as error:
        pytest.skip(str(error))
    yield one
    await one.shutdown()


async def test_golden(server: Swe) -> None:
    for row, record in golden("swe"):
        reward = await grade(server, row, record["items"])
        assert reward.value == record["expected_reward"], (record["note"], reward.extra)
        json.dumps(reward.extra)


@pytest.mark.parametrize("level", Difficulty)
async def test_the_expert_repairs_and_the_mistake_is_one(server: Swe, level: Difficulty) -> None:
    for row in islice(generate(4, 3, level), 4):
        items = [item for turn in solve(row) for item in turn]
        assert (await grade(server, row, items)).value == 1.0, row
        assert (await grade(server, row, [assistant_message("Repaired.")])).value == 0.0, row


async def test_what_the_model_sees(server: Swe) -> None:
    session = await server.seed(Swe.Task.model_validate(ROW))
    path = ROW["expert_edit"]["path"]
    assert path.partition("/")[0] in await server.bash(session, "ls")
    assert await server.bash(session, "echo one > a; echo two >> a; cat a") == "one\ntwo"
    assert "exit status 3" in await server.bash(session, "exit 3")
    assert "characters left out" in await server.bash(session, "seq 1000")
    assert "2 times" in await server.edit(session, "a", "o", "0")
    assert await server.edit(session, "a", "two", "2") == "done"
    assert "file exists" in await server.edit(session, "a", "", "x")
    assert await server.edit(session, "new/b", "", "x\n") == "done"
    assert await server.bash(session, "cat a new/b") == "one\n2\nx"
    assert "no path inside" in await server.edit(session, "../a", "", "x")
    assert "No such file" in await server.bash(session, "cat tests/*")
    server._command_s = 1.0
    assert "Killed" in await server.bash(session, "sleep 30")
    assert session["timeouts"] == 1
    await server.close(session)
    await server.close(session)


async def test_the_patch_is_kept_and_sessions_are_apart(server: Swe) -> None:
    task = Swe.Task.model_validate(ROW)
    first, second = await server.seed(task), await server.seed(task)
    edit = ROW["expert_edit"]
    await server.edit(first, **edit)
    assert edit["old"] in await server.bash(second, f"cat {edit['path']}")
    repaired, left = await server.verify(task, None, first), await server.verify(task, None, second)
    assert (repaired.value, left.value) == (1.0, 0.0)
    assert edit["new"] in repaired.extra["patch"]
    assert left.extra["patch"] == ""
    for session in (first, second):
        await server.close(session)


async def test_a_command_may_decide(server: Swe) -> None:
    row = {**ROW, "test_command": "python3 -m unittest -q tests/test_*.py"}
    items = [item for turn in solve(row) for item in turn]
    assert (await grade(server, row, items)).value == 1.0
    assert (await grade(server, row, [])).value == 0.0


async def test_a_git_bundle(server: Swe, tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("no git here")
    for path, text in ROW["repository"].items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)

    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "one"]):
        git(*words)
    git("bundle", "create", "all.bundle", "--all")
    bundle = base64.b64encode((tmp_path / "all.bundle").read_bytes()).decode()
    row = {key: value for key, value in ROW.items() if key != "repository"} | {"bundle": bundle, "commit": "main"}
    session = await server.seed(Swe.Task.model_validate(row))
    if "one" not in await server.bash(session, "git log --oneline"):
        pytest.skip("git does not work in a sandbox here")
    await server.edit(session, **ROW["expert_edit"])
    reward = await server.verify(Swe.Task.model_validate(row), None, session)
    assert reward.value == 1.0
    assert ".git" not in reward.extra["patch"]
    await server.close(session)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repository": None}, "either"),
        ({"bundle": "IyB2"}, "either"),
        ({"hidden_tests": {}}, "nothing could fail"),
        ({"hidden_tests": {"../x.py": ""}}, "inside"),
        ({"repository": None, "bundle": "AAAA"}, "no git bundle"),
    ],
)
def test_wrong_rows(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Swe.Task.model_validate({**ROW, **change})


def test_what_comes_out_of_a_sandbox_is_plain_data() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        unpack(b"no archive at all, but long enough to be asked about it" * 20)
    assert not any(map(is_inside, ["", "/x", "../x", "a/../b", "a//b"]))
    assert "+b" in patch({"x": b"a\n"}, {"x": b"b\n"}, 1000)
    assert patch({}, {"x": b"\xff"}, 1000) == "Binary file x differs\n"
