"""The one reader: Parquet, JSONL and journal say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gym_ray.collect.config import RunConfig
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.collect.output.finalize import finalize
from gym_ray.collect.rundir import CONFIG, RunDir
from gym_ray.runs.groups import journaled_groups, read_groups
from gym_ray.runs.rollouts import Group
from gym_ray.types.errors import UserError
from gym_ray.types.outcome import Outcome
from tests.support.rollouts import make_rollout, put, two_turns

TASKS, EACH = 30, 3


class Plan:
    rollouts = TASKS * EACH


def make_run(folder: Path, format: str) -> RunDir:
    """Tasks of scored, masked and failed rollouts, some with rewritten history, journaled out of order."""
    run = RunDir.create(str(folder))
    run.write(CONFIG, b"{}")
    journal = JournalWriter(run, "worker-0")
    for task in reversed(range(TASKS)):
        for index, outcome in enumerate(Outcome):
            put(journal, make_rollout(task, index, outcome, trajectory=two_turns(rewritten=task % 2 == 1)))
    journal.close()
    finalize(run, RunConfig(run_dir=run.address, envs={}, collect={"formats": [format], "rows_per_shard": 20}), Plan())
    return run


def read(run: RunDir, **options: Any) -> list[Group]:
    return list(read_groups(run.address, **options))


def test_parquet_jsonl_and_journal_say_the_same(tmp_path: Path) -> None:
    table, lines = make_run(tmp_path / "a", "parquet"), make_run(tmp_path / "b", "jsonl")
    groups = read(table, tokens=True)
    assert groups == read(lines, tokens=True) == list(journaled_groups(table))
    assert [group.task_number for group in groups] == list(range(TASKS))
    scored, masked, failed = groups[1].rollouts
    assert (scored.outcome, masked.outcome, failed.outcome) == tuple(Outcome)
    assert (scored.reward, masked.reward, failed.reward) == (1.0, None, None)
    assert [len(segment.token_ids) for segment in scored.segments] == scored.lengths == [5, 4]
    assert scored.segments[0].spans == [(3, 5)]
    assert (masked.failure, masked.reason) == (failed.failure, failed.reason) == ("judge_failed", "no verdict")
    assert scored.ours["timings"] == failed.ours["timings"] == {"model": 0.75, "total": 1.0}
    assert scored.fields["expected_answer"] == failed.fields["expected_answer"] == "4"
    assert not any("generation_token_ids" in item for item in scored.items)


def test_what_is_not_asked_for_is_left_empty(tmp_path: Path) -> None:
    first = read(make_run(tmp_path / "run", "parquet"), prompts=False)[0].rollouts[0]
    assert (first.input, first.segments, first.lengths) == ([], [], [7])


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "jsonl")
    part = Path(run.path("rollouts/part-00001.jsonl"))
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"part-00001\.jsonl, line \d+: damaged"):
        read(run)
