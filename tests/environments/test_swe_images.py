"""swe: repositories that lie in an image, and published rows that name them.

No container program is at hand. A folder that every local sandbox sees, read-only, stands for the image's: all that
happens inside is real. That the image reaches the container program is seen by an executable of its name.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from gym_ray.collect.tasks.rules import BadTask, TaskRules
from gym_ray.environments.swe import Swe
from gym_ray.environments.swe.published import adopted, find_image
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.sandbox import SandboxPool
from gym_ray.sandbox import pool as pools
from gym_ray.sandbox.guest.interpreter import PACKAGES
from gym_ray.types.errors import MaskRollout, UserError

STOCK = """\
def left(there, taken):
    return there + taken
"""
VISIBLE = "from stock import left\n\n\ndef test_nothing():\n    assert left(3, 0) == 3\n"
PATCH = """\
--- a/tests/test_stock.py
+++ b/tests/test_stock.py
@@ -3,3 +3,7 @@

 def test_nothing():
     assert left(3, 0) == 3
+
+
+def test_some():
+    assert left(3, 2) == 1
"""
ROW: dict[str, Any] = {
    "responses_create_params": {"input": "left() adds."},
    "image": "stock__stock-1",
    "folder": f"{PACKAGES}/broken_stock",
    "test_patch": PATCH,
    "fail_to_pass": ["tests/test_stock.py::test_some"],
    "pass_to_pass": ["tests/test_stock.py::test_nothing"],
}
REPAIR = {"path": "stock.py", "old": "there + taken", "new": "there - taken"}


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Swe]:
    """With the repository where an image would have it."""
    for path, text in {"__init__.py": "", "stock.py": STOCK, "old.py": "", "tests/test_stock.py": VISIBLE}.items():
        file = tmp_path / "broken_stock" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    take = SandboxPool.take
    monkeypatch.setattr(SandboxPool, "take", lambda self, image: take(self))
    packages = ["broken_stock", "pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments"]
    try:
        one = Swe(command_timeout_s=30.0, sandbox={"packages": packages})
    except UserError as error:
        pytest.skip(str(error))
    yield one
    await one.shutdown()


async def played(server: Swe, *commands: str, row: dict[str, Any] = ROW, repair: bool = True) -> Any:
    task = Swe.Task.model_validate(row)
    session = await server.seed(task)
    if repair:
        assert await server.edit(session, **REPAIR) == "done"
    for command in commands:
        await server.bash(session, command)
    reward = await server.verify(task, None, session)
    await server.close(session)
    return reward


async def test_what_differs_is_carried_over_and_tested(server: Swe) -> None:
    right = await played(server, "rm old.py; mkdir new; echo x > new/a.py")
    assert right.value == 1.0, right.extra
    assert right.extra["tests"] == dict.fromkeys([*ROW["fail_to_pass"], *ROW["pass_to_pass"]], True)
    assert "+    return there - taken" in right.extra["patch"]
    assert "new/a.py" in right.extra["patch"]
    nothing = await played(server, repair=False)
    assert (nothing.value, nothing.extra["patch"]) == (0.0, "")
    assert nothing.extra["tests"] == {ROW["fail_to_pass"][0]: False, ROW["pass_to_pass"][0]: True}


async def test_the_agents_own_tests_and_endings_have_no_say(server: Swe) -> None:
    forged = await played(server, "echo 'def test_some(): pass' > tests/test_stock.py", repair=False)
    assert forged.value == 0.0
    ended = await played(server, "echo 'import os; os._exit(0)' >> stock.py")
    assert set(ended.extra["tests"].values()) == {False}
    taken_down = await played(server, "kill -9 -1; rm -rf ../repo", repair=False)
    assert taken_down.value == 0.0


async def test_the_agent_works_with_the_copy(server: Swe) -> None:
    session = await server.seed(Swe.Task.model_validate(ROW))
    command = "python3 -c 'import stock; print(stock.__file__)'; git log 2>&1 | head -1; ls -a"
    seen = await server.bash(session, command)
    assert "repo/stock.py" in seen
    assert ".git" not in seen.split()
    assert "Read-only" in await server.bash(session, f"touch {ROW['folder']}/x")
    await server.close(session)


async def test_a_command_may_decide_and_a_patch_must_fit(server: Swe) -> None:
    row = {**ROW, "test_command": "grep -q 'there - taken' stock.py"}
    assert (await played(server, row=row)).value == 1.0
    assert (await played(server, row=row, repair=False)).value == 0.0
    with pytest.raises(MaskRollout, match="does not apply"):
        await played(server, row={**ROW, "test_patch": PATCH.replace("left(3, 0)", "left(9, 9)")})
    with pytest.raises(MaskRollout, match="no repository"):
        await played(server, row={**ROW, "folder": "/testbed"}, repair=False)


async def test_the_image_reaches_the_container_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "podman").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\nexit 1\n')
    (tmp_path / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(pools, "TRIES", 1)
    (tmp_path / "stock_1776_stock-1.sif").write_text("")
    server = Swe(images=[f"{tmp_path}/{{instance_id}}.sif"], sandbox={"provider": "podman"})
    with pytest.raises(MaskRollout):
        await played(server, repair=False)
    await server.shutdown()
    said = (tmp_path / "said").read_text()
    assert f"{tmp_path}/stock_1776_stock-1.sif -I" in said
    assert "--network none" in said


async def test_without_a_container_program_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="docker is not installed here"):
        Swe(sandbox={"provider": "docker"})
    monkeypatch.undo()
    try:
        server = Swe()
    except UserError as error:
        pytest.skip(str(error))
    with pytest.raises(MaskRollout, match="one of docker, podman, apptainer"):
        await played(server, repair=False)
    await server.shutdown()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repository": {"a.py": ""}}, "either"),
        ({"fail_to_pass": []}, "nothing could fail"),
        ({"fail_to_pass": ["test_negative (utils_tests.DurationParseTests)"]}, "give a `test_command`"),
        ({"pass_to_pass": ["../x.py::test"]}, "give a `test_command`"),
        ({"folder": "/a;rm -rf"}, "no absolute path"),
    ],
)
def test_wrong_rows(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Swe.Task.model_validate({**ROW, **change})


def published(**columns: Any) -> dict[str, Any]:
    """As swe_agents has its rows: everything in ``metadata``, the data set's own columns in JSON inside."""
    instance = {
        "repo": "stock/stock", "test_patch": PATCH, "patch": "the repair", "hints_text": "a hint",
        "FAIL_TO_PASS": json.dumps(ROW["fail_to_pass"]), "PASS_TO_PASS": json.dumps(ROW["pass_to_pass"]), **columns,
    }  # fmt: skip
    metadata = {
        "instance_id": "stock__stock-1", "base_commit": "1234", "dataset_name": "SWE-Gym/SWE-Gym", "split": "train",
        "problem_statement": "left() adds.", "golden_patch": "the repair", "instance_dict": json.dumps(instance),
    }  # fmt: skip
    params = {"input": [], "metadata": metadata, "tools": [{"type": "function", "name": "their_tool"}]}
    return {"responses_create_params": params, "agent_ref": {"name": "swe_agents_train"}}


def test_published_rows_become_tasks() -> None:
    row = adopted(published())
    task = Swe.Task.model_validate(row)
    assert (task.image, task.folder, task.fail_to_pass) == ("stock__stock-1", "/testbed", ROW["fail_to_pass"])
    assert task.prompt_text.startswith("left() adds.\n")
    assert row["agent_ref"] == {"name": "swe_agents_train"}
    assert b"the repair" not in orjson.dumps(row)
    assert "tools" not in row["responses_create_params"]
    flat = {**json.loads(published()["responses_create_params"]["metadata"]["instance_dict"]), "instance_id": "a__b-1"}
    assert adopted({**flat, "responses_create_params": {"input": "x"}})["image"] == "a__b-1"
    assert adopted(ROW) == ROW
    assert adopted(published(docker_image="registry/a:1"))["image"] == "registry/a:1"


def test_rows_that_cannot_be_graded_are_named() -> None:
    rules = TaskRules({"swe": EnvironmentConfig(server="gym_ray.environments.swe:Swe")}, {"swe": Swe})
    r2e = published(expected_output_json="{}")
    metadata = r2e["responses_create_params"]["metadata"]
    metadata["instance_dict"] = json.dumps({"expected_output_json": "{}"})
    with pytest.raises(BadTask, match="test_patch"):
        rules.adopted(r2e, "swe")
    with pytest.raises(BadTask, match="give a `test_command`"):
        rules.check(rules.adopted(published(FAIL_TO_PASS='["test_a (b.C)"]'), "swe"), "swe")


def test_images_by_the_names_of_instances(tmp_path: Path) -> None:
    (tmp_path / "aiohttp_final_12ab.sif").write_text("")
    templates = ["reg/eval.{instance_id}:latest", f"{tmp_path}/{{instance_id}}.sif"]
    assert find_image("aio-libs__aiohttp-12ab", templates) == f"{tmp_path}/aiohttp_final_12ab.sif"
    assert find_image("Django__django-1", templates) == "reg/eval.django_1776_django-1:latest"
    assert find_image("registry/a:1", []) == "registry/a:1"
