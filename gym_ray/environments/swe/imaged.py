"""Repositories that lie in a container image: worked on in a copy, carried over as the files that differ.

The image itself is read-only. The agent gets a copy of its repository, without the history; afterwards the copy is
compared with the original, which nobody can have changed, and what differs goes into a fresh copy for the tests. Files
that the test patch touches stay as the image has them. Programs find the copy first: its folders come before what is
installed in ``PYTHONPATH``, and the image's own Python before others in ``PATH``.
"""

from __future__ import annotations

import json
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from gym_ray.environments.swe.repository import MAX_BYTES, ROOT, Files, is_inside, placed, unpack
from gym_ray.sandbox import Command, Limits, Result, Sandbox, SandboxUnavailable

RUNNER = Path(__file__).with_name("pytest_runner.py.txt").read_bytes()
PATH_OF_PATCH = re.compile(r"^(?:---|\+\+\+) [ab]/([^\t\n]+)", re.MULTILINE)
PYTHON = '"$(command -v python || command -v python3)"'
PLACE = f'mkdir {ROOT} && cd "$0" && tar -c --exclude=./.git . | tar -x -C "$OLDPWD/{ROOT}"'
REMOVE = f"cd {ROOT} && xargs -0 rm -rf --"
APPLY = f'cd {ROOT} && {{ git apply --whitespace=nowarn "../$0" || patch -p1 -s -i "../$0"; }}'
DIFFER = """\
import filecmp, os, sys, tarfile
original = sys.argv[1]
def files(root):
    found = set()
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in (".git", "__pycache__")]
        paths = (os.path.join(folder, name) for name in names)
        found |= {os.path.relpath(path, root) for path in paths if os.path.isfile(path) and not os.path.islink(path)}
    return found
before, after = files(original), files("repo")
same = {path for path in before & after if filecmp.cmp(os.path.join(original, path), os.path.join("repo", path), False)}
out = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
for side, root, found in (("before", original, before), ("after", "repo", after)):
    for path in sorted(found - same):
        out.add(os.path.join(root, path), f"{side}/{path}", recursive=False)
out.close()
"""
"""A program that writes the files that differ from the original, both sides of them."""


def enter(folder: str) -> str:
    """Shell words that go into the copy of the repository that the image has in ``folder``."""
    path = f"/opt/miniconda3/envs/testbed/bin:{folder}/.venv/bin:$PATH"
    code = "$PWD:$PWD/src:$PWD/lib${PYTHONPATH:+:$PYTHONPATH}"
    return f'cd {ROOT} && export PATH="{path}" PYTHONPATH="{code}"'


async def place(sandbox: Sandbox, folder: str, limits: Limits) -> None:
    """Copy the repository.

    Raises:
        SandboxUnavailable: the image has none in ``folder``.
    """
    _require(await sandbox.run(Command(argv=("sh", "-c", PLACE, folder)), limits), f"no repository in {folder}")


async def changes(sandbox: Sandbox, folder: str, limits: Limits) -> tuple[Files, Files]:
    """The files that differ, as they were and as they are.

    Raises:
        ValueError: they cannot be read, or are too many.
    """
    result = await sandbox.run(Command(python=DIFFER, arguments=(folder,)), limits)
    if not result.ok or result.cut:
        raise ValueError(f"the repository could not be read, or more than {MAX_BYTES >> 20} MiB of it are new")
    both = unpack(result.stdout)
    sides = ("before", "after")
    before, after = (
        {path[len(side) + 1 :]: both[path] for path in both if path.startswith(f"{side}/")} for side in sides
    )
    return before, after


async def test(sandbox: Sandbox, task: Any, before: Files, after: Files, limits: Limits) -> tuple[dict[str, bool], str]:
    """What became of each test of ``task`` in a fresh ``sandbox``, and what the tests said.

    Raises:
        SandboxUnavailable: the image lacks the repository, or the test patch does not fit it.
    """
    await place(sandbox, task.folder, limits)
    hidden = {path: text.encode() for path, text in task.hidden_tests.items()}
    theirs = {*PATH_OF_PATCH.findall(task.test_patch), *hidden}
    gone = b"\0".join(f"./{path}".encode() for path in before.keys() - after.keys() - theirs)
    if gone:
        await sandbox.run(Command(argv=("sh", "-c", REMOVE), stdin=gone), limits)
    kept = {path: content for path, content in after.items() if path not in theirs and is_inside(path)}
    files = {"test.patch": task.test_patch.encode(), "runner.py": RUNNER, **placed({**kept, **hidden})}
    argv = ("sh", "-c", APPLY, "test.patch") if task.test_patch else ("true",)
    _require(await sandbox.run(Command(argv=argv, files=files), limits), "the test patch does not apply")
    return await _run(sandbox, task, limits)


async def _run(sandbox: Sandbox, task: Any, limits: Limits) -> tuple[dict[str, bool], str]:
    if task.test_command is not None:
        result = await sandbox.run(Command(argv=("sh", "-c", f"{enter(task.folder)} && {task.test_command}")), limits)
        return {task.test_command: result.ok}, _text(result)
    names, token = [*task.fail_to_pass, *task.pass_to_pass], secrets.token_hex(16)
    command = f"{enter(task.folder)} && exec {PYTHON} ../runner.py"
    asked = f"{token}\n{json.dumps(names)}\n".encode()
    result = await sandbox.run(Command(argv=("sh", "-c", command), stdin=asked), limits)
    return dict.fromkeys(names, False) | dict.fromkeys(_passed(result, token, set(names)), True), _text(result)


def _passed(result: Result, token: str, names: set[str]) -> set[str]:
    for line in result.stdout.decode(errors="replace").splitlines():
        with suppress(ValueError, TypeError, KeyError):
            said = json.loads(line)
            if said["token"] == token:
                return names & set(said["passed"])
    return set()


def _require(result: Result, problem: str) -> None:
    if not result.ok:
        raise SandboxUnavailable(f"{problem}: {_text(result)[-300:]}")


def _text(result: Result) -> str:
    return (result.stdout + result.stderr).decode(errors="replace")
