"""Repairs of repositories: the agent works with bash and an editor, hidden tests decide.

The agent's sandbox ends before any test is seen: what it leaves is the repository's files, and those go into a fresh
sandbox together with the hidden tests. So nothing that the agent started, or changed elsewhere, has a say; and the
tests cannot be read beforehand. A test file takes the place of whatever the agent wrote under its name.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from gym_ray.environments.swe import imaged
from gym_ray.environments.swe.published import FOLDER, adopted, find_image
from gym_ray.environments.swe.repository import (
    BUNDLE,
    MAX_BYTES,
    PACK,
    ROOT,
    Files,
    decode_bundle,
    is_inside,
    patch,
    placed,
    unpack,
)
from gym_ray.resources.server import ResourcesServer, Session, tool
from gym_ray.sandbox import (
    UNSAFE,
    Command,
    Killed,
    Limits,
    Result,
    Sandbox,
    SandboxConfig,
    SandboxPool,
    SandboxUnavailable,
)
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

RUNNER = Path(__file__).with_name("runner.py.txt").read_text(encoding="utf-8")
MAX_OPEN = 64
"""The default of `sandbox.max_running` here: sandboxes wait for the model most of the time."""
CLONE = ("sh", "-c", f'git -c advice.detachedHead=false clone -q {BUNDLE} {ROOT} && git -C {ROOT} checkout -q "$0"')
EDIT = """\
import json, os, sys
path, old, new = json.loads(sys.stdin.read())
path = os.path.join("repo", path)
text = open(path).read() if os.path.exists(path) else ""
if not old and text: sys.exit("the file exists: say which text is to be replaced")
if old and text.count(old) != 1: sys.exit(f"the text to be replaced is there {text.count(old)} times; it must be once")
os.makedirs(os.path.dirname(path), exist_ok=True)
open(path, "w").write(text.replace(old, new) if old else new)
"""


@dataclass
class _Work:
    """A session's sandbox, whose turn it is, and the repository as it was."""

    task: Any
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    sandbox: Sandbox | None = None
    before: Files = field(default_factory=dict)


class Swe(ResourcesServer):
    """Repositories to be repaired with bash and an editor; hidden tests decide.

    Options:
        command_timeout_s: seconds per command of the agent.
        tests_timeout_s: seconds for all hidden tests.
        max_output_chars: longest output the model sees of a command; its middle is left out.
        images: templates of the images of rows with an `image` (`/sif/swebench_{instance_id}.sif`); the first whose
            file is there is taken.
        sandbox: see :class:`gym_ray.sandbox.SandboxConfig`. An `image` brings compilers and packages along. Rows with
            an `image` of their own need a container `provider`.
    """

    tool_timeout_s = 1800.0
    verify_timeout_s = 3600.0

    class Task(TaskRow):
        """A repository and the tests that it must pass."""

        repository: dict[str, str] | None = None
        """The files, by relative path. Or `bundle`, or `image`."""
        bundle: str | None = None
        """A git bundle in base64, with its history. Needs git in the sandbox."""
        commit: str = "HEAD"
        """What of the bundle is checked out."""
        image: str | None = None
        """A container image that has the repository, or its instance's name for the option `images`."""
        folder: str = FOLDER
        """Where the image has it."""
        hidden_tests: dict[str, str] = Field(default_factory=dict)
        """unittest files by relative path. The agent never sees them."""
        test_command: str | None = None
        """A command that takes the place of our runner, in the repository's folder; its status decides."""
        test_patch: str = ""
        """With `image`: a diff that brings the hidden tests."""
        fail_to_pass: list[str] = Field(default_factory=list)
        """With `image`: names of pytest tests (`tests/test_a.py::test_b`) that only the repair makes pass."""
        pass_to_pass: list[str] = Field(default_factory=list)
        """With `image`: those that pass before and must pass afterwards."""

        @model_validator(mode="after")
        def _check(self) -> Swe.Task:
            if sum(source is not None for source in (self.repository, self.bundle, self.image)) != 1:
                raise ValueError("give either `repository` or `bundle` or `image`")
            for path in (*(self.repository or ()), *self.hidden_tests):
                if not is_inside(path):
                    raise ValueError(f"{path!r} is no path inside the repository")
            if self.image is not None:
                self._check_imaged()
            elif not self.hidden_tests:
                raise ValueError("`hidden_tests` is empty: nothing could fail")
            if self.bundle is not None:
                decode_bundle(self.bundle)
            return self

        def _check_imaged(self) -> None:
            if not re.fullmatch(r"(/[\w.-]+)+", self.folder):
                raise ValueError(f"`folder`: {self.folder!r} is no absolute path")
            if self.test_command is not None:
                return
            if not self.fail_to_pass:
                raise ValueError("`fail_to_pass` is empty: nothing could fail")
            for name in (*self.fail_to_pass, *self.pass_to_pass):
                if not is_inside(name.partition("::")[0]) or ".py" not in name:
                    raise ValueError(f"{name[:80]!r} is no name of a pytest test: give a `test_command` instead")

    @classmethod
    def adopt(cls, row: dict[str, Any]) -> dict[str, Any]:
        """See :func:`~gym_ray.environments.swe.published.adopted`."""
        return adopted(row)

    def __init__(
        self,
        command_timeout_s: float = 60.0,
        tests_timeout_s: float = 300.0,
        max_output_chars: int = 8000,
        images: list[str] | None = None,
        sandbox: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._images = images or []
        self._command_s, self._tests_s, self._max_chars = command_timeout_s, tests_timeout_s, max_output_chars
        self._pool = SandboxPool(SandboxConfig.read(sandbox, max_running=MAX_OPEN, warm=0), images=True)
        self._open: dict[str, _Work] = {}

    async def seed(self, task: Any) -> Session:
        """No sandbox yet: many rollouts never call a tool."""
        name = uuid.uuid4().hex
        self._open[name] = _Work(task)
        return {"id": name, "commands": 0, "timeouts": 0}

    @tool
    async def bash(self, session: Session, command: str) -> str:
        """Run a command with bash in the repository's folder. Its output comes back, and its exit status if not 0.
        Files stay; processes end with the command. There is no network."""
        task = self._open[session["id"]].task
        enter = f"cd {ROOT}" if task.image is None else imaged.enter(task.folder)
        argv = ("sh", "-c", f'{enter} && exec $(command -v bash || echo sh) -c "$0"', command)
        return self._shown(await self._run(session, Command(argv=argv)))

    @tool
    async def edit(self, session: Session, path: str, old: str, new: str) -> str:
        """Replace text in a file: `old` must be there exactly once. An empty `old` makes a new file of `new`."""
        if not is_inside(path):
            return f"Error: {path} is no path inside the repository"
        program = Command(python=EDIT, stdin=json.dumps([path, old, new]).encode())
        return self._shown(await self._run(session, program)) or "done"

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 when all hidden tests pass, else 0.0.

        ``extra``: ``tests`` (by file, or test; with `test_command` by that), ``patch``, ``num_commands``,
        ``command_timeouts``, ``tests_output`` (its end).
        """
        work = self._open[session["id"]]
        try:
            async with work.lock:
                files = await self._collect(work)
                self._release(work)
            tests, output = await self._tested(task, work.before, files)
        except SandboxUnavailable as error:
            raise MaskRollout(FailureKind.PROVIDER_UNAVAILABLE, str(error)) from None
        extra = {
            "tests": tests,
            "patch": patch(work.before, files, 4 * self._max_chars),
            "num_commands": session["commands"],
            "command_timeouts": session["timeouts"],
            "tests_output": output[-self._max_chars :],
        }
        if self._pool.provider == UNSAFE:
            extra["sandbox"] = UNSAFE
        return Reward(float(bool(tests) and all(tests.values())), extra=extra)

    async def close(self, session: Session) -> None:
        """Ends the sandbox."""
        work = self._open.pop(session["id"], None)
        if work is not None:
            async with work.lock:
                self._release(work)

    async def shutdown(self) -> None:
        """Ends those that are kept ready."""
        await self._pool.aclose()

    async def _run(self, session: Session, command: Command) -> Result:
        work = self._open[session["id"]]
        # Commands of one turn may come together; the repository takes them one after the other.
        async with work.lock:
            try:
                sandbox = await self._ready(work)
            except SandboxUnavailable as error:
                raise RolloutError(FailureKind.PROVIDER_UNAVAILABLE, Stage.TOOL, str(error), terminal=False) from None
            result = await sandbox.run(command, self._limits(self._command_s))
        session["commands"] += 1
        session["timeouts"] += result.killed == Killed.DEADLINE
        return result

    async def _ready(self, work: _Work) -> Sandbox:
        if work.sandbox is None:
            work.sandbox = await self._pool.take(self._image(work.task))
            work.before = await self._place(work.sandbox, work.task)
        return work.sandbox

    async def _place(self, sandbox: Sandbox, task: Any) -> Files:
        """Put the repository into a fresh sandbox; its files (of one that lies in an image: none)."""
        if task.image is not None:
            await imaged.place(sandbox, task.folder, self._limits(self._command_s))
            return {}
        if task.repository is not None:
            files = _bytes(task.repository)
            await sandbox.run(Command(argv=("true",), files=placed(files)), self._limits(self._command_s))
            return files
        command = Command(argv=(*CLONE, task.commit), files={BUNDLE: decode_bundle(task.bundle)})
        cloned = await sandbox.run(command, self._limits(self._command_s))
        if not cloned.ok:
            raise SandboxUnavailable(f"the bundle could not be cloned: {_text(cloned)[-300:]}")
        return await self._packed(sandbox)

    async def _collect(self, work: _Work) -> Files:
        """The repository as the agent left it; as it was, where it took its sandbox down. Of one that lies in an image
        only the files that differ, here and in ``before``."""
        if work.task.image is not None:
            return await self._changed(work)
        if work.sandbox is None and work.task.repository is not None:  # no tool was used
            work.before = _bytes(work.task.repository)
            return work.before
        sandbox = await self._ready(work)
        with suppress(ValueError):
            return await self._packed(sandbox)
        return work.before

    async def _changed(self, work: _Work) -> Files:
        after: Files = {}
        if work.sandbox is not None:
            with suppress(ValueError):
                work.before, after = await imaged.changes(work.sandbox, work.task.folder, self._reading)
        return after

    async def _packed(self, sandbox: Sandbox) -> Files:
        result = await sandbox.run(Command(python=PACK), self._reading)
        if not result.ok or result.cut:
            raise ValueError("the repository could not be read")
        return await asyncio.to_thread(unpack, result.stdout)

    def _image(self, task: Any) -> str | None:
        return None if task.image is None else find_image(task.image, self._images)

    async def _tested(self, task: Any, before: Files, files: Files) -> tuple[dict[str, bool], str]:
        hidden = _bytes(task.hidden_tests)
        async with self._pool.sandbox(self._image(task)) as sandbox:
            if task.image is not None:
                return await imaged.test(sandbox, task, before, files, self._limits(self._tests_s))
            everything = placed({**files, **hidden})
            if task.test_command is not None:
                argv = ("sh", "-c", f'cd {ROOT} && exec sh -c "$0"', task.test_command)
                result = await sandbox.run(Command(argv=argv, files=everything), self._limits(self._tests_s))
                return {task.test_command: result.ok}, _text(result)
            token = secrets.token_hex(16)
            asked = f"{token}\n{json.dumps(list(hidden))}\n".encode()
            program = Command(python=RUNNER, stdin=asked, files=everything)
            result = await sandbox.run(program, self._limits(self._tests_s))
            return _verdicts(result, token, hidden), result.stderr.decode(errors="replace")

    @property
    def _reading(self) -> Limits:
        """Of a program that writes the repository out."""
        return replace(self._limits(self._command_s), output_bytes=MAX_BYTES)

    def _limits(self, seconds: float) -> Limits:
        return replace(self._pool.limits, wall_s=seconds, cpu_s=seconds)

    def _release(self, work: _Work) -> None:
        if work.sandbox is not None:
            self._pool.give_back(work.sandbox)
            work.sandbox = None

    def _shown(self, result: Result) -> str:
        text = _text(result).removesuffix("\n")
        if len(text) > self._max_chars:
            half = self._max_chars // 2
            text = f"{text[:half]}\n... ({len(text) - 2 * half} characters left out) ...\n{text[-half:]}"
        ending = ""
        if result.killed:
            ending = f"Killed ({result.killed}): the limit is {self._command_s:g} s and the sandbox's memory"
        elif result.exit:
            ending = f"exit status {result.exit}"
        return "\n".join(part for part in (text, ending) if part)


def _bytes(texts: Mapping[str, str]) -> Files:
    return {path: text.encode() for path, text in texts.items()}


def _text(result: Result) -> str:
    return (result.stdout + result.stderr).decode(errors="replace")


def _verdicts(result: Result, token: str, hidden: Mapping[str, bytes]) -> dict[str, bool]:
    """What the runner said of each file; one of which it said nothing has failed."""
    verdicts = dict.fromkeys(hidden, False)
    for line in result.stdout.decode(errors="replace").splitlines():
        with suppress(ValueError, TypeError, KeyError):
            said = json.loads(line)
            if said["token"] == token and said["file"] in verdicts:
                verdicts[said["file"]] = said["passed"] is True
    return verdicts
