"""Profiles of scripted runs, against numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gym_ray.cli.main import main
from gym_ray.collect.rundir import PLAN
from gym_ray.collect.tasks.plan import SCHEMA
from gym_ray.runs.profile import Thresholds, default_ks, profile_run
from gym_ray.runs.read import read_run
from gym_ray.types.errors import UserError
from gym_ray.types.items import assistant_message, function_call, function_call_output
from gym_ray.types.outcome import Failure, Outcome
from tests.support.scripted_runs import scripted, write_run


def profiled(folder: Path, *arguments: Any, **options: Any) -> dict[str, Any]:
    """The profile of the one environment in a run of these rollouts."""
    found: dict[str, Any] = profile_run(write_run(folder / "run", *arguments, **options))["environments"]["quiz"]
    return found


def at(found: dict[str, Any], k: int, name: str) -> float:
    mean: float = next(one for one in found["k"] if one["k"] == k)[name]["mean"]
    return mean


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
@pytest.mark.parametrize("shards", [1, 3])
def test_masked_and_failed_rollouts_stand_beside_the_means(tmp_path: Path, format: str, shards: int) -> None:
    rollouts = [
        *(scripted(0, 0, 1.0), scripted(0, 1, None), scripted(0, 2, failed="agent_timeout"), scripted(0, 3, 0.0)),
        *(scripted(1, index, 1.0) for index in range(4)),
        *(scripted(2, 0, None, failed="agent_timeout"), scripted(2, 1, None)),
    ]
    found = profiled(tmp_path, rollouts, per_task=4, format=format, shards=shards)
    counts = [found[name] for name in ("tasks", "scored", "masked", "failed", "missing", "unscored_tasks")]
    assert counts == [3, 6, 2, 2, 2, 1]
    assert found["reward"]["mean"] == found["success"]["mean"] == 0.75
    assert found["reward"]["tasks"] == 2
    assert found["failure_kinds"] == {"judge_failed": 2, "agent_timeout": 2}
    assert found["difficulty"] == {"0": 0, "<0.2": 0, "<0.4": 0, "<0.6": 1, "<0.8": 0, "<1": 0, "1": 1}
    assert found["tasks_without_spread"] == 1


def test_a_reward_that_was_masked_after_scoring_is_in_no_mean(tmp_path: Path) -> None:
    masked = scripted(0, 0, 0.0, masked="truncated")
    rollouts = [masked, scripted(0, 1, 1.0)]
    masked.outcome, masked.failure = Outcome.MASKED, Failure("truncated", "agent", "why")
    assert profiled(tmp_path, rollouts)["reward"]["mean"] == 1.0


def test_tasks_count_once_however_many_of_their_rollouts_are_left(tmp_path: Path) -> None:
    found = profiled(tmp_path, [scripted(0, 0, 0.0), *(scripted(1, index, 1.0) for index in range(3))], per_task=4)
    assert found["reward"]["mean"] == 0.5


def test_lost_rollouts_do_not_raise_pass_at_k(tmp_path: Path) -> None:
    """One task keeps a single wrong rollout: NeMo Gym 0.5 reports pass@1 50 and pass@2 100 of these."""
    found = profiled(tmp_path, [scripted(0, 0, 0.0), scripted(1, 0), scripted(1, 1)])
    assert at(found, 1, "pass_at") == at(found, 2, "pass_at") == 0.5
    assert [one["short_tasks"] for one in found["k"]] == [0, 1]


def test_pass_at_k_never_falls_with_k(tmp_path: Path) -> None:
    lost = [scripted(task, index, float(task * index % 5 == 1)) for task in range(9) for index in range(8 - task % 4)]
    found = profiled(tmp_path, lost, per_task=8)
    passes = [at(found, k, "pass_at") for k in (1, 2, 4, 8)]
    assert passes == sorted(passes)
    assert passes[0] < passes[-1]


def test_no_answer_is_counted(tmp_path: Path) -> None:
    """A task where nobody answers: the share of such tasks is not 0, and it is no success."""
    silent = [scripted(0, index, 0.0, extra={"extracted_answer": None}) for index in range(2)]
    spoken = [scripted(1, index, 1.0, extra={"extracted_answer": "b"}) for index in range(2)]
    found = profiled(tmp_path, silent + spoken)
    assert at(found, 2, "no_answer") == at(found, 2, "majority") == found["unanswered"] == 0.5


def test_the_majority_is_of_the_verifiers_answers(tmp_path: Path) -> None:
    answers = [("a", 0.0), ("b", 1.0), ("b", 1.0)]
    rollouts = [scripted(0, index, reward, extra={"extracted_answer": a}) for index, (a, reward) in enumerate(answers)]
    found = profiled(tmp_path, rollouts, per_task=3)
    assert [at(found, k, "majority") for k in (1, 2, 3)] == [0.0, 0.5, 1.0]


def test_without_an_answer_field_there_is_no_majority(tmp_path: Path) -> None:
    found = profiled(tmp_path, [scripted(0, 0), scripted(0, 1)])
    assert [one["majority"] for one in found["k"]] == [None, None]
    assert found["unanswered"] is None


def test_components(tmp_path: Path) -> None:
    rollouts = [
        scripted(0, 0, 1.5, components={"right": 1.0, "form": 0.5}),
        scripted(1, 0, 0.5, components={"form": 0.5}),
    ]
    found = profiled(tmp_path, rollouts, per_task=1)["components"]
    assert {name: its["mean"] for name, its in found.items()} == {"right": 1.0, "form": 0.5}


def test_lengths_turns_tools_and_truncation(tmp_path: Path) -> None:
    items = [
        *(function_call("add", "{}", "1"), function_call_output("1", '{"error": "no"}')),
        *(function_call("add", "{}", "2"), function_call_output("2", '{"sum": 4, "note": "no \\"error\\""}')),
        assistant_message("4"),
    ]
    found = profiled(tmp_path, [scripted(0, 0, items=items), scripted(0, 1, finish="length", tokens=60)])
    assert (found["tool_errors"], found["tool_error_rate"], found["truncated"]) == (1, 0.5, 0.5)
    assert found["sampled_tokens"]["mean"] == 40
    assert found["finish_reasons"] == {"stop": 1, "length": 1}


def test_reward_and_length(tmp_path: Path) -> None:
    """Long tasks are hard here, but within a task length does not matter."""
    lengths = {0: [10, 20], 1: [110, 120], 2: [210, 220]}
    rollouts = [
        scripted(t, i, 1.0 - t / 2, tokens=tokens) for t, its in lengths.items() for i, tokens in enumerate(its)
    ]
    found = profiled(tmp_path, rollouts)["reward_length_correlation"]
    assert found["overall"] == pytest.approx(-1.0, abs=0.01)
    assert found["within_tasks"] is None


def test_duplicates_are_within_a_task(tmp_path: Path) -> None:
    rollouts = [scripted(0, 0, text="a"), scripted(0, 1, text="a"), scripted(1, 0, text="a"), scripted(1, 1, text="b")]
    assert profiled(tmp_path, rollouts)["duplicates"] == 1


def test_success_without_output_is_suspect(tmp_path: Path) -> None:
    found = profiled(tmp_path, [scripted(0, 0, text=" "), scripted(0, 1, 0.0), scripted(1, 0, text="an answer")])
    assert found["suspected"]["empty_successes"] == 1


@pytest.mark.parametrize(("expected", "verdict"), [("{task}", "different"), (None, "unknown"), ("same", None)])
def test_one_output_for_unlike_tasks_is_suspect(tmp_path: Path, expected: str | None, verdict: str | None) -> None:
    rows = [{"expected_answer": expected.format(task=task)} if expected else {} for task in range(4)]
    rollouts = [scripted(task, 0, text="trust me", row=rows[task]) for task in range(4)]
    found = profiled(tmp_path, rollouts, per_task=1)["suspected"]["repeated"]
    assert found == ([{"output": "trust me", "tasks": 4, "expected": verdict}] if verdict else [])


def test_what_is_frequent_is_found_among_more_outputs_than_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gym_ray.runs.suspicion.CAPACITY", 5)
    texts = ["trust me" if task % 3 == 0 else f"honest {task}" for task in range(60)]
    found = profiled(tmp_path, [scripted(task, 0, text=text) for task, text in enumerate(texts)], per_task=1)
    assert [one["output"] for one in found["suspected"]["repeated"]] == ["trust me"]


def test_thresholds(tmp_path: Path) -> None:
    rollouts = [scripted(0, 0, 0.4), scripted(0, 1, 0.6), scripted(1, 0, 0.4, environment="essay")]
    run = write_run(tmp_path / "run", rollouts)
    strict = profile_run(run)
    assert strict["environments"]["quiz"]["success"]["mean"] == 0.0
    assert len(strict["notes"]) == 3, strict["notes"]
    found = profile_run(run, Thresholds(0.5, {"essay": 0.3}))["environments"]
    assert [found[name]["success"]["mean"] for name in ("quiz", "essay")] == [0.5, 1.0]


def test_ks_go_up_to_the_rollouts_per_task(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [scripted(0, 0)], per_task=6)
    assert default_ks(read_run(run)) == [1, 2, 4, 6]
    assert [one["k"] for one in profile_run(run, ks=[3, 1])["environments"]["quiz"]["k"]] == [1, 3]


def test_a_run_that_is_not_whole_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [scripted(0, 0)], per_task=4, complete=False)
    assert "3 of 4 planned rollouts are missing" in profile_run(run)["notes"][0]


def test_a_run_without_shards_is_an_error(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [])
    with pytest.raises(UserError, match=r"no shards yet.* run_dir="):
        profile_run(run)


def test_damage_is_named(tmp_path: Path) -> None:
    run = Path(write_run(tmp_path / "run", [scripted(0, 0), scripted(0, 1)], format="jsonl"))
    part = run / "rollouts/part-00000.jsonl"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"part-00000.jsonl, line 2: damaged"):
        profile_run(str(run))
    part.with_suffix(".parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"part-00000.parquet: damaged"):
        profile_run(str(run))


def test_the_verb_prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = "\x1b[2J\u202etrust me [bold]"
    write_run(tmp_path / "runs/one", [scripted(task, 0, text=hostile) for task in range(3)], per_task=1)
    assert main(["profile", "one", "--json", "p.json", "--tasks", "t.jsonl", "--k", "1,2"]) == 0
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("quiz"))
    assert row.split()[:7] == ["quiz", "3", "3", "0", "0", "0", "1.000"]
    assert "\x1b" not in shown
    assert "\\x1b[2J\\u202etrust me [bold]" in shown
    assert json.loads(Path("p.json").read_text())["environments"]["quiz"]["scored"] == 3
    first = json.loads(Path("t.jsonl").read_text().splitlines()[0])
    assert (first["pass_rate"], first["pass_rate_total"], first["pass_rate_passed"]) == (1.0, 1, 1)
    lengths = {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}
    assert first["raw_rewards_and_lengths"] == [{"_ng_rollout_index": 0, "reward": 1.0, **lengths}]
    assert (first["reward_profile_completion_pct"], first["missing_num_rollouts"]) == (100.0, 0)
    assert (first["output_tokens/mean"], first["output_tokens/std"]) == (20.0, None)
    assert "sample" not in first, "this run has no plan any more"


def test_rows_of_tasks_carry_the_task(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [scripted(task, 0) for task in range(3)], per_task=1)
    facts = [("t", "quiz", 0, 1, task, 1, b'{"question": "q%d"}' % task) for task in range(3)]
    plan = [dict(zip(SCHEMA.names, (task, *its), strict=True)) for task, its in enumerate(facts)]
    Path(run, PLAN).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(plan, SCHEMA), f"{run}/{PLAN}/part-00000.parquet")
    rows: list[dict[str, Any]] = []
    profile_run(run, each=rows.append)
    assert [row["sample"]["question"] for row in rows] == ["q0", "q1", "q2"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "required: run"),
        (["x", "--threshold", "math=high"], "REWARD or ENV=REWARD"),
        (["x", "--k", "0"], "whole numbers"),
        (["x", "--nope"], "--nope"),
        (["no-such-run"], "no run directory"),
    ],
)
def test_mistakes_are_one_line(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *words]) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1
