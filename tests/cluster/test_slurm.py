"""The batch script under a real Slurm: cancelled half way, drained before its time limit, and nothing lost."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gym_ray.cli.main import main
from gym_ray.collect.journal.frames import Kind, walk
from tests.cluster.conftest import SECRET, finished, user_environment
from tests.cluster.slurmd import Slurm, slurm_up
from tests.support.endpoint import EndpointProcess
from tests.support.processes import wait_for

TASKS = 60


def rendered(tmp_path: Path, run: Path, base_url: str, *cluster: str) -> Path:
    script = tmp_path / "collect.sbatch"
    words = ["collect", "env=envs/luggage.py:Luggage", "tasks=./tasks.jsonl", f"run_dir={run}", "model=openai"]
    words += [f"model.base_url={base_url}", "model.name=it's scripted", "collect.agent_cpus=0.1", "collect.in_flight=2"]
    assert main(["cluster", "render", "cluster=slurm", *cluster, f"out={script}", *words]) == 0
    return script


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    home = tmp_path_factory.mktemp("home")
    env = user_environment(HOME=str(home), LUGGAGE_KEY=SECRET)
    with slurm_up(tmp_path_factory.mktemp("slurm"), env) as up:
        yield up


def until(slurm: Slurm, job: str, state: str, log: Path) -> None:
    def reached() -> bool:
        now = slurm.state(job)
        assert now == state or now not in ("FAILED", "NODE_FAIL", "TIMEOUT"), log.read_text()[-3000:]
        return now == state

    wait_for(reached, 150, f"job {job} {state}")


def show(log: Path, told: str) -> None:
    """Part of the transcript: a job's log, and what the run holds."""
    print(f"$ cat {log.name}\n{log.read_text().rstrip()}\n# {told}")


@pytest.mark.slurm
def test_cancelled_half_way_and_submitted_again(slurm: Slurm, project: Callable[[int], Path], tmp_path: Path) -> None:
    folder, run = project(TASKS), tmp_path / "run"
    with EndpointProcess(latency=0.4) as base_url:
        script = rendered(tmp_path, run, base_url)
        first = slurm.submit(script, folder)
        log = folder / f"gym-ray-{first}.log"
        wait_for(lambda: len(finished(run)) >= 6, 120, "six rollouts")
        slurm.run("squeue")
        slurm.run("scancel", first)
        until(slurm, first, "CANCELLED", log)
        kept = finished(run)
        show(log, f"{len(kept)} of {TASKS} rollouts in the journal")
        assert 6 <= len(kept) < TASKS

        second = slurm.submit(script, folder)
        log = folder / f"gym-ray-{second}.log"
        until(slurm, second, "COMPLETED", log)
    after = finished(run)
    slurm.history()
    show(log, f"{len(after)} of {TASKS} rollouts in the journal; {len(kept.items() & after.items())} as they were")
    assert f"resuming: {len(kept)} of {TASKS} rollouts are there" in log.read_text()
    assert len(after) == TASKS
    assert kept.items() <= after.items()
    token = Path(slurm.env["HOME"], ".ray/auth_token")
    assert (token.stat().st_mode & 0o777, len(token.read_text())) == (0o600, 64)


@pytest.mark.slurm
def test_before_the_time_limit_it_drains_and_queues_itself_again(
    slurm: Slurm, project: Callable[[int], Path], tmp_path: Path
) -> None:
    folder, run = project(TASKS), tmp_path / "run"
    with EndpointProcess(latency=0.4) as base_url:
        job = slurm.submit(rendered(tmp_path, run, base_url), folder)
        log = folder / f"gym-ray-{job}.log"
        wait_for(lambda: len(finished(run)) >= 6, 120, "six rollouts")
        slurm.run("scancel", "--batch", "--signal=USR1", job)  # what --signal=B:USR1@180 sends
        wait_for(lambda: "back into the queue" in log.read_text(), 90, "a requeue")
        kept, begun = finished(run), starts(run)
        slurm.run("squeue")
        assert 6 <= len(kept) < TASKS
        assert begun == len(kept), "what was in the air has landed"
        until(slurm, job, "COMPLETED", log)
    after = finished(run)
    slurm.history()
    show(log, f"{len(after)} of {TASKS} rollouts in the journal; {len(kept.items() & after.items())} as they were")
    assert len(after) == TASKS
    assert kept.items() <= after.items()
    assert "ended with exit code 130" in log.read_text()
    assert log.read_text().rstrip().endswith("ended with exit code 0")


def starts(run: Path) -> int:
    """Attempts that the journal knows of."""
    opened = (walk(memoryview(file.read_bytes()))[0] for file in (run / "journal").glob("*.seg"))
    return sum(int((heads["kind"] == Kind.START).sum()) for heads in opened)


def test_the_script_is_sound_and_the_one_that_lies_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everything = ["cluster.slurm.container=my image.sqsh", "cluster.slurm.mounts=[/shared:/shared]"]
    runtimes = ["enroot", "apptainer"]
    for words in ([], *([*everything, f"cluster.slurm.container_runtime={runtime}"] for runtime in runtimes)):
        script = rendered(tmp_path, tmp_path / "run", "http://x/v1", "cluster.slurm.gpus_per_node=8", *words)
        subprocess.run(["bash", "-n", str(script)], check=True, timeout=20)
        assert not re.search(r"@[A-Z]+@", script.read_text())
    assert "apptainer exec --nv --bind /shared:/shared 'my image.sqsh' ray symmetric-run" in script.read_text()
    file = Path(__file__).parents[2] / "cluster/slurm/collect.sbatch"
    capsys.readouterr()
    assert main(["cluster", "render", "cluster=slurm", "collect", "env=mcqa", "run_dir=/shared/runs/mcqa"]) == 0
    assert capsys.readouterr().out == file.read_text()
