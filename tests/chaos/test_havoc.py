"""A small campaign over four nodes; and that its judges find what is wrong with a run, and say so."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gym_ray.collect.journal.frames import OUTCOME_CODES, Kind
from gym_ray.collect.journal.record import encode
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.collect.rundir import RunDir
from tests.chaos.havoc.campaign import NODES, Outcome, Round
from tests.chaos.havoc.dice import WEIGHTS, Dice
from tests.chaos.havoc.ledger import Ledger, back_s
from tests.chaos.havoc.meter import Sample, trends
from tests.chaos.havoc.nodes import cluster
from tests.chaos.havoc.table import faults
from tests.chaos.havoc.work import Work, judge
from tests.support.rollouts import make_rollout


@pytest.mark.ray
@pytest.mark.chaos
@pytest.mark.slow
def test_six_kills_over_four_nodes_cost_time_only(tmp_path: Path) -> None:
    with cluster(NODES) as nodes:
        dice = Dice(62, nodes)  # All five kinds are hit, if nobody is missing when their turn comes.
        outcome = Round(tmp_path / "run", Work(counters=120, groups=20), nodes, dice, print).play(6, every_s=3.0)
    assert faults(outcome) == []
    assert outcome.verdict.rows == 140 * 4
    assert sum(outcome.kills.values()) > 0
    assert outcome.kills.keys() <= WEIGHTS.keys()


WORK = Work(counters=1, groups=1)


def counted(output: str) -> list[dict[str, Any]]:
    return [
        {"type": "function_call", "name": "bump", "arguments": "{}", "call_id": "c"},
        {"type": "function_call_output", "call_id": "c", "output": output},
        {"type": "message", "content": [{"type": "output_text", "text": "1"}]},
    ]


def counter_row(index: int, **changes: Any) -> dict[str, Any]:
    ours = {"task_id": "c0", "rollout_index": index, "reward": 1.0, "segments": [{"length": 8}]}
    row = {"response": {"output": counted("1")}, "reward": 1.0, "mask_sample": False, "gym_ray": ours}
    return row | changes


def longest_row(index: int, length: int, reward: float) -> dict[str, Any]:
    output = [{"type": "message", "content": [{"type": "output_text", "text": "x" * length}]}]
    ours = {"task_id": "g0", "rollout_index": index, "reward": reward, "segments": [{"length": 4}]}
    return {"response": {"output": output}, "reward": reward, "mask_sample": False, "group": 4, "gym_ray": ours}


def write_run(folder: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = folder / "rollouts"
    shards.mkdir(parents=True)
    shards.joinpath("part-00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = [{name: row["gym_ray"][name] for name in ("task_id", "rollout_index", "reward")} for row in rows]
    pq.write_table(pa.Table.from_pylist(columns), shards / "part-00000.parquet")
    return folder


GOOD = [counter_row(index) for index in range(4)] + [longest_row(index, index, float(index == 3)) for index in range(4)]


def test_a_good_run_is_found_good(tmp_path: Path) -> None:
    verdict = judge(write_run(tmp_path, GOOD), WORK)
    assert (verdict.rows, verdict.lost, verdict.doubled, verdict.fabricated, verdict.given_up) == (8, [], [], [], [])


def test_a_lost_and_a_doubled_row_are_found(tmp_path: Path) -> None:
    verdict = judge(write_run(tmp_path, [*GOOD[1:], GOOD[2]]), WORK)
    assert (verdict.lost, verdict.doubled) == ([("c0", 0)], [("c0", 2)])


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (counter_row(0, reward=0.0), "reward 0.0"),
        (counter_row(0, response={"output": counted("1")[2:]}), "items []"),
        (counter_row(0, gym_ray={**GOOD[0]["gym_ray"], "segments": [{"length": 4}, {"length": 4}]}), "segments of"),
        (counter_row(0, gym_ray={**GOOD[0]["gym_ray"], "task_id": "c7"}), "never asked for"),
        (counter_row(0, response={"output": counted("2")}), "tools said ['2']"),
    ],
)
def test_a_fabricated_row_is_found(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    verdict = judge(write_run(tmp_path, [row, *GOOD[1:]]), WORK)
    assert len(verdict.fabricated) == 1
    assert why in verdict.fabricated[0]


def test_a_group_judged_wrongly_is_found(tmp_path: Path) -> None:
    wrong = longest_row(0, 0, 1.0)
    verdict = judge(write_run(tmp_path, [*GOOD[:4], wrong, *GOOD[5:]]), WORK)
    assert verdict.fabricated == ["('g0', 0): reward 1.0, not 0.0"]


def test_a_record_that_changes_after_a_kill_is_thrown_away(tmp_path: Path) -> None:
    """The journal's first complete record wins; a file that goes loses what was durable."""
    from gym_ray.collect.config import RunConfig
    from gym_ray.collect.output.finalize import finalize

    class Plan:
        rollouts = 2

    run = RunDir.create(str(tmp_path / "run"))
    for task, owner in enumerate(("b", "a")):
        journal, rollout = JournalWriter(run, owner), make_rollout(task)
        journal.append(Kind.ROLLOUT, task, 0, OUTCOME_CODES[rollout.outcome], 1.0, encode(rollout))
        journal.close()
    ledger = Ledger(tmp_path / "run")
    assert ledger.note() == 2
    finalize(run, RunConfig.model_validate({"run_dir": run.address, "envs": {"adder": {"server": "a.b:C"}}}), Plan())
    assert ledger.thrown_away() == set()
    next((tmp_path / "run/journal").glob("a-*.seg")).unlink()
    assert ledger.thrown_away() == {1 << 24}


def test_faults_are_told() -> None:
    from tests.chaos.havoc.work import Verdict

    verdict = Verdict(lost=[("c0", 1)], doubled=[("c0", 2)], fabricated=["x"])
    outcome = Outcome(Counter(), verdict, 3, (0, 0), 0, 1.0, [], 1.0)
    assert len(faults(outcome)) == 4


def test_when_throughput_is_back() -> None:
    steady = [second / 10 for second in range(100)]  # 10 a second until a kill at 10.0
    after = [*steady, 12.0, *(15.0 + second / 10 for second in range(50))]
    assert back_s(after, 10.0, float("inf"), 8.0) == pytest.approx(5.0)
    assert back_s(after, 10.0, 14.0, 8.0) is None


def test_growth_is_told_from_noise() -> None:
    def life(name: str, handles: float, per_sample: float) -> list[Sample]:
        noise = (0.0, 1.0, -1.0, 0.5)
        return [
            Sample(15.0 * at, name, 1, 200.0 + noise[at % 4], 150.0, int(handles + per_sample * at), 9)
            for at in range(120)
        ]

    found = trends([*life("flat", 30, 0.0), *life("leak", 30, 0.2), *life("short", 30, 0.2)[:60]], 1785.0)
    assert {(trend.name, trend.measure) for trend in found if not trend.flat} == {("leak", "handles")}
    assert {trend.name for trend in found} == {"flat", "leak"}
