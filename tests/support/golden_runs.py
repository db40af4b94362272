"""Runs made of the environments' own golden trajectories, as agents would have left them, judged in this process.

A judge's golden answers are kept by question, so that :func:`judge` can give them again over HTTP.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from gym_ray.cli.compose import compose_settings
from gym_ray.collect.config import RunConfig
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.collect.output.finalize import finalize
from gym_ray.collect.rundir import CONFIG, RunDir
from gym_ray.collect.tasks.plan import PLAN_JSON, SCHEMA
from gym_ray.environments import catalog
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.golden import Replay, ScriptedJudges, load_golden
from gym_ray.resources.host import Host
from gym_ray.resources.judge import JudgeReply
from gym_ray.types.errors import MaskRollout
from gym_ray.types.items import Item, item_text
from gym_ray.types.outcome import Failure, Outcome
from gym_ray.types.rollout import Rollout
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage
from tests.support.endpoint import Call, Fault
from tests.support.rollouts import put

REPLIES = "GYM_RAY_TEST_REPLIES"
"""Environment variable: the file of a judge's answers by question."""


def golden_config(folder: Path, names: Iterable[str], judge: str, **changes: Any) -> RunConfig:
    """A run of native environments as the command line would compose it. ``changes``: settings of each of them."""
    words = [f"env={','.join(names)}", f"run_dir={folder}", "judge=openai", f"judge.base_url={judge}", "judge.name=j"]
    config, _ = compose_settings([*words, *(f"env.{key}={value}" for key, value in changes.items())], RunConfig)
    return config


async def write_golden_run(config: RunConfig, most: int) -> int:
    """Journal, plan and shards of up to ``most`` golden trajectories per environment; returns how many in all.

    The judge's answers go to ``judge.json`` beside the run directory.
    """
    run = RunDir.create(config.run_dir)
    run.write(CONFIG, yaml.safe_dump(config.model_dump(mode="json")).encode())
    replies: dict[str, str] = {}
    journal, plan = JournalWriter(run, "worker-0"), list[dict[str, Any]]()
    for name, environment in config.envs.items():
        for rollout in await _rollouts(name, environment, most, len(plan), replies):
            put(journal, rollout)
            facts = (rollout.task_number, rollout.task_id, name, 0, 1, len(plan), 1, rollout.task)
            plan.append(dict(zip(SCHEMA.names, facts, strict=True)))
    journal.close()
    with run.create_file("journal/plan/part-00000.parquet") as sink:
        pq.write_table(pa.Table.from_pylist(plan, SCHEMA), sink)
    run.write(PLAN_JSON, orjson.dumps(_plan(config, plan)))
    Path(config.run_dir).with_name("judge.json").write_bytes(orjson.dumps(replies))
    finalize(run, config, _Expected(len(plan)))
    return len(plan)


class _Expected:
    def __init__(self, rollouts: int) -> None:
        self.rollouts = rollouts


def _plan(config: RunConfig, rows: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {name: sum(row["environment"] == name for row in rows) for name in config.envs}
    whole = {"tasks": len(rows), "rows": len(rows), "rollouts": len(rows), "rollouts_per_task": 1}
    environments = {name: {"tasks": n, "lines": n, "rollouts": n} for name, n in counts.items()}
    rest = {"fingerprint": "golden", "bad_rows": 0, "parts": 1, "sources": [], "settings": {}}
    return {**whole, **rest, "environments": environments}


async def _rollouts(
    name: str, environment: EnvironmentConfig, most: int, first: int, replies: dict[str, str]
) -> list[Rollout]:
    """The environment's golden trajectories that agents could have left: with answers of tools that the environment
    gave itself, and of judges that the question alone decides."""
    examples = [orjson.loads(line) for line in catalog.examples_path(name).read_bytes().splitlines()]
    asked = _Judges()
    host = Host(name, environment, asked)
    host.start()
    made: list[Rollout] = []
    try:
        recorded = load_golden(catalog.golden_path(name))
        for golden in recorded[:: max(1, len(recorded) // (most + 1))]:
            if len(made) == most:
                break
            asked.said = {}
            replay = Replay(host, golden.row(examples), golden, _await)
            await replay.run()
            written = not golden.tool_calls_executed and any(map(_is_output, golden.items or ()))
            conflict = any(replies.get(question, reply) != reply for question, reply in asked.said.items())
            if written or conflict or None in golden.judge or replay.verdict is None:
                continue
            replies |= asked.said
            made.append(_rollout(replay, first + len(made), name))
    finally:
        await host.aclose()
    return made


def _is_output(item: Item) -> bool:
    return item.get("type") == "function_call_output"


async def _await(label: str, work: Any) -> Any:
    return await work


class _Judges(ScriptedJudges):
    """Golden judges that note what they are asked."""

    said: Mapping[str, str]

    def open(self, name: str) -> _Judges:
        return self

    async def respond(self, items: list[Item], params: Mapping[str, Any]) -> JudgeReply:
        reply = await super().respond(items, params)
        question = next(item_text(item) or str(item["content"]) for item in reversed(items) if item["role"] == "user")
        self.said = {**self.said, question: item_text(reply.items[0])}
        return reply


def _rollout(replay: Replay, number: int, environment: str) -> Rollout:
    trajectory = replay.trajectory
    trajectory.turns = list(_turns(trajectory))
    verdict = replay.verdict
    assert verdict is not None
    masked = isinstance(verdict, MaskRollout)
    return Rollout(
        number,
        f"{environment}-{number}",
        0,
        environment,
        "agent",
        orjson.dumps(replay.row),
        {},
        Outcome.MASKED if masked else Outcome.SCORED,
        trajectory,
        None if masked else verdict,
        Failure(verdict.kind, "verify", verdict.reason) if masked else None,
        started=1000.0,
        finished=1001.0,
        timings={"model": 0.5, "verify": 0.25},
    )


def _turns(trajectory: Trajectory) -> Iterator[Turn]:
    """One model call per stretch of items that no tool and no observation interrupts."""
    answers = [_is_output(item) or item.get("role") == "user" for item in trajectory.items]
    for at, is_answer in enumerate(answers):
        if not is_answer and (at + 1 == len(answers) or answers[at + 1]):
            yield Turn(at, FinishReason.STOP, Usage(10, 5))


@functools.cache
def _known() -> dict[str, str]:
    found: dict[str, str] = orjson.loads(Path(os.environ[REPLIES]).read_bytes())
    return found


def judge(call: Call) -> str | Fault:
    """The script of an endpoint that answers what the golden judges answered."""
    return _known().get(call.question, Fault(404, f"never asked so before: {call.question[:200]}"))
