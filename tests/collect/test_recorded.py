"""Recorded rollouts given to an agent worker again: verdicts of one and of a group, sessions, what is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from gym_ray.collect.config import RunConfig
from gym_ray.collect.journal.index import scan
from gym_ray.collect.journal.record import decode
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.worker import AgentWorker, PlannedTask, WorkerSetup
from gym_ray.types.errors import FailureKind
from gym_ray.types.items import assistant_message, function_call, function_call_output, user_message
from gym_ray.types.outcome import Failure, Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage
from tests.support.rollouts import put

ENVS = "tests/support/envs.py"


def rollout(index: int, row: dict[str, Any], items: list[dict[str, Any]], last_items: list[int]) -> Rollout:
    """A rollout of task 0 with these turns; each of one sampled token."""
    turns = [
        Turn(last, FinishReason.STOP, Usage(1, 1), TurnTokens([1] * (at + 1), [2], [-0.5]))
        for at, last in enumerate(last_items)
    ]
    task = orjson.dumps({"responses_create_params": {"input": "go"}, **row})
    trajectory = Trajectory([user_message("go")], items, turns, model="policy")
    done = {"started": 5.0, "finished": 9.0, "timings": {"model": 3.0, "verify": 0.5, "total": 4.0}, "attempt": 1}
    reward = Reward(0.25)
    return Rollout(0, "t", index, "env", "a", task, {"top_p": 0.5}, Outcome.SCORED, trajectory, reward, **done)


def bumps(index: int, seen: int = 1) -> Rollout:
    """Counter's tool called once; it answered ``seen``."""
    items = [function_call("bump", "{}", "c1"), function_call_output("c1", str(seen)), assistant_message("1")]
    return rollout(index, {"bumps": 1}, items, [0, 2])


def said(index: int, text: str, **row: Any) -> Rollout:
    return rollout(index, row, [assistant_message(text)], [0])


def verified(folder: Path, server: str, rollouts: list[Rollout], *, planned: int = 0, **agent: Any) -> list[Rollout]:
    """What becomes of ``rollouts`` when they are verified again."""
    source, run = RunDir.create(str(folder / "source")), RunDir.create(str(folder / "run"))
    journal = JournalWriter(source, "worker-0")
    for one in rollouts:
        put(journal, one)
    journal.close()
    config = RunConfig.model_validate(
        {
            "run_dir": run.address,
            "recorded": source.address,
            "envs": {"env": {"server": f"{ENVS}:{server}", "placement": "inline"}},
            "agent": agent,
        }
    )
    worker = AgentWorker(WorkerSetup(run.address, config), "worker-0")
    worker.run([PlannedTask(0, "t", "env", 0, planned or len(rollouts), rollouts[0].task)])
    worker.close()
    index = scan(run)
    payloads = [index.payload(0, number) for number in range(planned or len(rollouts))]
    return [decode(payload) for payload in payloads if payload is not None]


def test_only_the_verdict_is_new(tmp_path: Path) -> None:
    before = said(0, "5", expected=5)
    (now,) = verified(tmp_path, "Sum", [before])
    assert now.reward == Reward(1.0, extra={"answer": "5"})
    assert now.timings.pop("verify") != before.timings.pop("verify")
    assert replace(now, reward=None) == replace(before, reward=None)


def test_a_session_is_made_again(tmp_path: Path) -> None:
    same, other = verified(tmp_path, "Counter", [bumps(0), bumps(1, seen=7)])
    assert (same.outcome, same.reward) == (Outcome.SCORED, Reward(1.0))
    assert other.outcome is Outcome.MASKED
    assert other.failure is not None
    assert other.failure.kind == FailureKind.REPLAY_DIVERGED
    assert "item 1, after call 1 (bump)" in other.failure.reason
    assert other.trajectory == bumps(1, seen=7).trajectory, "what was recorded stays"


def test_a_session_that_was_cut_is_made_again_up_to_there(tmp_path: Path) -> None:
    cut = bumps(0)
    assert cut.trajectory is not None
    cut.trajectory.items, cut.trajectory.turns = cut.trajectory.items[:2], cut.trajectory.turns[:1]
    cut.trajectory.finish_reason = FinishReason.MAX_TURNS
    (now,) = verified(tmp_path, "Counter", [cut], on_truncation="mask")
    assert (now.outcome, now.failure and now.failure.kind) == (Outcome.MASKED, FailureKind.TRUNCATED)
    assert now.reward == Reward(0.0), "the count is right, but it was not said"


def test_a_group_is_judged_whole(tmp_path: Path) -> None:
    texts = ["a", "bbb", "bbb", "cc"]
    rollouts = [said(index, text) for index, text in enumerate(texts)]
    rollouts[3].outcome, rollouts[3].reward = Outcome.FAILED, None
    rollouts[3].failure = Failure(FailureKind.AGENT_TIMEOUT, "agent", "late")
    found = verified(tmp_path, "Longest", rollouts)
    rewards = [one.reward and (one.reward.value, one.reward.extra) for one in found]
    assert rewards == [(0.0, {"group": 3}), (1.0, {"group": 3}), (1.0, {"group": 3}), None]
    assert found[3] == rollouts[3], "what failed before it came to a verdict stays as it was"


@pytest.mark.parametrize("kind", [FailureKind.VERIFIER_ERROR, FailureKind.JUDGE_FAILED])
def test_what_its_verifier_masked_gets_another_chance(tmp_path: Path, kind: FailureKind) -> None:
    masked = said(0, "5", expected=5)
    masked.outcome, masked.reward, masked.failure = Outcome.MASKED, None, Failure(kind, "verify", "why")
    (now,) = verified(tmp_path, "Sum", [masked])
    assert (now.outcome, now.failure, now.reward and now.reward.value) == (Outcome.SCORED, None, 1.0)


def test_what_the_run_never_made_is_not_made_now(tmp_path: Path) -> None:
    assert len(verified(tmp_path, "Sum", [said(0, "5", expected=5)], planned=3)) == 1
