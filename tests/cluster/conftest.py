"""What tests of clusters share: a project as a user has one, and the command line in a process of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gym_ray.collect.journal.index import scan
from gym_ray.collect.rundir import RunDir

ROOT = Path(__file__).resolve().parents[2]
SECRET = "open-sesame-471"
ENVIRONMENT = '''
"""Rewards what came along with a job, and the secret that the cluster has."""
import os
from pathlib import Path

from gym_ray import ResourcesServer, TaskRow


class Luggage(ResourcesServer):
    """Reward 1.0 where the project's files and the secret are, and what was to stay at home is not."""

    class Task(TaskRow):
        pass

    async def verify(self, task, trajectory, session):
        there = Path("notes/here.txt").is_file() and os.environ.get("LUGGAGE_KEY") == "VALUE"
        return float(there and not Path("private/diary.txt").exists())
'''.replace("VALUE", SECRET)


@pytest.fixture
def project(tmp_path: Path) -> Callable[[int], Path]:
    """``project(tasks)`` makes a folder with an environment, tasks, a file that goes along and one that does not."""

    def make(tasks: int) -> Path:
        folder = tmp_path / "project"
        for part in ("notes", "private", "envs"):
            (folder / part).mkdir(parents=True)
        (folder / "envs/luggage.py").write_text(ENVIRONMENT)
        rows = ({"task_id": f"t{number}", "responses_create_params": {"input": "hello"}} for number in range(tasks))
        (folder / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "notes/here.txt").write_text("here")
        (folder / "private/diary.txt").write_text("at home")
        (folder / ".gitignore").write_text("private/\n")
        return folder

    return make


def gym_ray(*words: str, cwd: Path, env: dict[str, str], timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """Run ``gym-ray`` as a user does, to its end. What was said is part of the test's transcript."""
    command = [sys.executable, "-m", "gym_ray.cli.main", *words]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout_s, check=False)
    print(f"$ gym-ray {shlex.join(words)}\n{done.stdout}{done.stderr}# exit code {done.returncode}")
    return done


def user_environment(**more: str) -> dict[str, str]:
    """Environment of a user who is in this checkout's virtual environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", **more}


def finished(run: Path) -> dict[int, bytes]:
    """Key -> record of every rollout in the journal."""
    if not (run / "journal").is_dir():
        return {}
    index = scan(RunDir(str(run)))
    return {int(key): index.payload(int(key) >> 24, int(key) & (1 << 24) - 1) or b"" for key in index.done.keys}
