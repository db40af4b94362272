"""A run that trackers are told of."""

from __future__ import annotations

from pathlib import Path

from gym_ray.collect.config import RunConfig
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.collect.output.finalize import Summary, finalize
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.tally import Tally
from gym_ray.types.outcome import Outcome
from tests.support.rollouts import make_rollout, put

TASKS = 10


class _Plan:
    rollouts = TASKS


def tracked_run(folder: Path, *trackers: str) -> tuple[RunDir, RunConfig, Summary]:
    """A finished run of ten tasks that tells ``trackers``; one of its options is a secret, `hush`."""
    run = RunDir.create(str(folder))
    journal = JournalWriter(run, "worker-0")
    for task in range(TASKS):
        put(journal, make_rollout(task, outcome=Outcome.MASKED if task == 9 else Outcome.SCORED))
    journal.close()
    told = {"to": trackers, "samples": 4, "every_s": 0}
    config = RunConfig.model_validate(
        {
            "run_dir": run.address,
            "envs": {"adder": {"server": "a.b:C", "options": {"api_key": "hush"}}},
            "trackers": told,
        }
    )
    return run, config, finalize(run, config, _Plan())


def tally() -> Tally:
    """Three rollouts of it."""
    found = Tally()
    for task in range(3):
        found.count(make_rollout(task))
    return found
