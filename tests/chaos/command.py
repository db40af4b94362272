"""A collection as a user starts it: the command line, in a process group of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from gym_ray.collect.journal.index import JournalIndex, scan
from gym_ray.collect.rundir import RunDir
from tests.e2e.conftest import ENVS, rows
from tests.support.processes import kill_tree, wait_for

ROOT = Path(__file__).parents[2]
TASKS, GROUP = 60, 4


class Collection:
    """``gym-ray collect`` with ``words``, in a process group of its own.

    ``folder`` gets ``run`` (the run directory) and ``log.txt``. ``address``: of the Ray to attach to; None: its own.
    """

    def __init__(self, folder: Path, words: list[str], address: str | None = None) -> None:
        self.directory, self.log = folder / "run", folder / "log.txt"
        self.command = [sys.executable, "-m", "gym_ray.cli.main", "collect", *words, f"run_dir={self.directory}"]
        self.process: subprocess.Popen[bytes] | None = None
        self._address = address

    def __enter__(self) -> Collection:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": "/tmp"}
        env.pop("RAY_ADDRESS", None)
        if self._address is not None:
            env["RAY_ADDRESS"] = self._address
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            kill_tree(self.process.pid)
            self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def finish(self, timeout_s: float = 240) -> None:
        """Wait for the end; it must be a good one."""
        assert self.process is not None
        code = self.process.wait(timeout_s)
        assert code == 0, f"exit {code}:\n{self.log.read_text()[-4000:]}"

    def finished(self) -> dict[int, str]:
        """Key -> record (hex) of everything durable now."""
        index = scan(RunDir(str(self.directory)))
        return {int(key): _record(index, int(key)) for key in index.done.keys}

    def wait_until_rolling(self, rollouts: int = 1) -> None:
        """Until some rollouts are durable."""

        def rolling() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            return len(self.finished()) >= rollouts

        wait_for(rolling, 120, f"{rollouts} rollouts")


class Run(Collection):
    """Small: :data:`TASKS` tasks of the counter, :data:`GROUP` rollouts each, on a Ray of its own."""

    def __init__(self, tmp_path: Path, *overrides: str) -> None:
        tasks = tmp_path / "tasks.jsonl"
        tasks.write_text("".join(json.dumps(row) + "\n" for row in rows(["bump 2"] * TASKS, bumps=2)))
        words = [f"env={ENVS}:Counter", f"tasks={tasks}", f"collect.rollouts_per_task={GROUP}"]
        super().__init__(tmp_path, [*words, "collect.agent_cpus=0.1", "collect.in_flight=64", *overrides])


def _record(index: JournalIndex, key: int) -> str:
    payload = index.payload(key >> 24, key & (1 << 24) - 1)
    assert payload is not None
    return payload.hex()


def check_kept(run: Collection, before: dict[int, str]) -> None:
    """What was durable at a kill is in the end exactly what it was."""
    after = run.finished()
    assert {key: after.get(key) for key in before} == before
