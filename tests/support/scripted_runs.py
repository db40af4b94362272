"""Runs made of scripted rollouts, written as the collector writes them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
import yaml

from gym_ray.collect.output.rows import failure_row, make_row, to_jsonl
from gym_ray.collect.output.shardfile import LineFile, Output, ParquetFile
from gym_ray.collect.rundir import RunDir
from gym_ray.types.items import assistant_message
from gym_ray.types.outcome import Failure, Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage


def scripted(
    task: int, index: int, reward: float | None = 1.0, text: str = "", *, environment: str = "quiz", **options: Any
) -> Rollout:
    """A rollout. Without a reward it is masked, or failed with ``failed=KIND``. ``extra``: the verifier's fields."""
    kind = options.get("failed") or (None if reward is not None else options.get("masked", "judge_failed"))
    outcome = Outcome.FAILED if options.get("failed") else Outcome.SCORED if kind is None else Outcome.MASKED
    tokens = Usage(prompt_tokens=10, completion_tokens=options.get("tokens", 20))
    items = options.get("items") or ([assistant_message(text)] if text else [])
    finish = FinishReason(options.get("finish", "stop"))
    return Rollout(
        task_number=task,
        task_id=f"t{task}",
        rollout_index=index,
        environment=environment,
        agent="ToolLoop",
        task=orjson.dumps({"responses_create_params": {"input": []}, **options.get("row", {})}),
        params={},
        outcome=outcome,
        trajectory=Trajectory([], items, [Turn(0, finish, tokens)], finish),
        reward=None
        if reward is None or options.get("failed")
        else Reward(reward, options.get("components", {}), options.get("extra", {})),
        failure=None if kind is None else Failure(kind, "verify", "why"),
    )


def write_run(
    folder: Path,
    rollouts: Sequence[Rollout],
    *,
    per_task: int = 2,
    format: str = "parquet",
    shards: int = 1,
    complete: bool = True,
) -> str:
    """A run directory with these rollouts, in key order, of a plan of ``per_task`` for each task in them."""
    run = RunDir.create(str(folder))
    groups = [list(its) for _, its in groupby(rollouts, key=lambda one: one.task_number)]
    names = {one.environment for one in rollouts}
    tasks = {name: sum(group[0].environment == name for group in groups) for name in names}
    environments = {name: {"tasks": count, "rollouts": count * per_task} for name, count in tasks.items()}
    planned = {"rollouts": len(groups) * per_task, "rollouts_per_task": per_task, "environments": environments}
    run.write("config.yaml", yaml.safe_dump({"collect": {"rollouts_per_task": per_task}}).encode())
    run.write("journal/plan.json", orjson.dumps(planned))
    each = -(-len(groups) // shards)
    for number in range(shards):
        _shard(run, number, [one for group in groups[number * each : (number + 1) * each] for one in group], format)
    counts = {"expected": planned["rollouts"]}
    run.write("metrics.json", orjson.dumps({"rollouts": counts, "environments": {}}))
    run.write("manifest.json", orjson.dumps({"complete": complete, "files": []}))
    return run.address


def _shard(run: RunDir, number: int, rollouts: Sequence[Rollout], format: str) -> None:
    kept = [make_row(one) for one in rollouts if one.outcome is not Outcome.FAILED]
    with ExitStack() as stack:
        path = f"rollouts/part-{number:05}.{format}"
        rows: Output[Any] = (
            ParquetFile(run, stack, path) if format == "parquet" else LineFile(run, stack, path, to_jsonl)
        )
        lost: Output[Any] = LineFile(run, stack, f"failures/part-{number:05}.jsonl", failure_row)
        rows.write(kept)
        lost.write([one for one in rollouts if one.outcome is Outcome.FAILED])
