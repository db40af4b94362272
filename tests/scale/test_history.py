"""What a worker knows of the past: earlier attempts from one shared index, its own death from its own segments."""

from __future__ import annotations

import pickle
from pathlib import Path

import orjson
import pytest

from gym_ray.collect.config import RunConfig
from gym_ray.collect.journal.frames import Kind
from gym_ray.collect.journal.history import History
from gym_ray.collect.journal.index import scan
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.worker import AgentWorker, PlannedTask, Receipt, WorkerSetup
from gym_ray.models.config import ModelConfig
from gym_ray.resources.config import EnvironmentConfig
from tests.support.endpoint import EndpointProcess


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(str(tmp_path / "run"))


def leave(run: RunDir, owner: str, task: int, *, dies_with: int | None = None) -> JournalWriter:
    """A segment of ``owner``: a rollout of ``task``, a death with ``dies_with`` in the air."""
    journal = JournalWriter(run, owner)
    journal.append(Kind.ROLLOUT, task, 0, 0, 1.0, f"{owner}-{task}".encode())
    if dies_with is not None:
        journal.start(dies_with, 0, alone=True)
    journal.flush()
    return journal


def test_the_past_is_the_shared_index_and_ones_own_segments(run: RunDir) -> None:
    leave(run, "before", 1, dies_with=9)
    earlier = pickle.dumps(scan(run))
    leave(run, "mine", 2, dies_with=9)
    leave(run, "other", 3, dies_with=9)
    history = History(run, "mine", lambda: pickle.loads(earlier))
    assert [history.is_done(task, 0) for task in (1, 2, 3, 9)] == [True, True, False, False]
    assert history.payload(1, 0) == b"before-1"
    assert history.payload(2, 0) == b"mine-2"
    assert history.payload(3, 0) is None
    assert history.deaths(9, 0) == (0, 2), "the other worker lives, as far as this one knows"


def test_a_death_under_a_name_that_comes_again_counts_once(run: RunDir) -> None:
    leave(run, "mine", 1, dies_with=9)
    index = scan(run)
    assert History(run, "mine", lambda: index).deaths(9, 0) == (0, 1)


def test_what_is_being_written_is_read_on_demand_and_is_no_death(run: RunDir) -> None:
    history = History(run, "mine", None)
    journal = leave(run, "mine", 1, dies_with=9)
    assert not history.is_done(1, 0)
    history.read(journal.segment)
    assert history.is_done(1, 0)
    assert history.deaths(9, 0).total == 0


def test_a_worker_makes_nothing_twice(run: RunDir) -> None:
    tasks = [
        PlannedTask(number, f"t{number}", "sum", 0, 2, orjson.dumps(row))
        for number, row in enumerate(
            {"responses_create_params": {"input": f"sum {number} 1"}, "expected": number + 1} for number in range(8)
        )
    ]
    with EndpointProcess("tests.support.scripts:play") as base_url:
        config = RunConfig(
            run_dir=run.address,
            envs={"sum": EnvironmentConfig(server="tests/support/envs.py:Sum", placement="inline")},
            model=ModelConfig(base_url=base_url, name="scripted"),
        )
        killed = AgentWorker(WorkerSetup(run.address, config), "w")
        assert killed.run(tasks[:5]) == Receipt(10, 0, 0)
        restarted = AgentWorker(WorkerSetup(run.address, config), "w")
        assert restarted.run(tasks[:7]) == Receipt(4, 10, 0)
        assert restarted.run(tasks[:7]) == Receipt(0, 14, 0), "asked again for a block whose receipt was lost"
        index = scan(run)
        resumed = AgentWorker(WorkerSetup(run.address, config, earlier=lambda: index), "v")
        assert resumed.run(tasks) == Receipt(2, 14, 0)
        for worker in (killed, restarted, resumed):
            worker.close()
    assert (len(scan(run).done), scan(run).duplicates) == (16, 0)
