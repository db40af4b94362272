"""Exports of real shards, made by the collector's own finalising, in both of its formats."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from gym_ray.cli.main import main
from gym_ray.collect.config import RunConfig
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.collect.output.finalize import finalize
from gym_ray.collect.rundir import CONFIG, PLAN, RunDir
from gym_ray.collect.tasks.plan import SCHEMA
from gym_ray.export.formats import FORMATS
from gym_ray.export.pipeline import Exported, export
from gym_ray.export.settings import ExportSettings
from gym_ray.runs.groups import read_groups
from gym_ray.types.errors import UserError
from gym_ray.types.items import assistant_message, user_message
from gym_ray.types.outcome import Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage
from tests.support.rollouts import make_rollout, put, two_turns

TASKS, EACH = 40, 4
Export = Callable[..., Exported]


class Plan:
    rollouts = TASKS * EACH


def answer(task: int, text: str, reason: FinishReason = FinishReason.STOP) -> Trajectory:
    tokens = TurnTokens([1, task], [2, 3, len(text)], [-0.5, -0.25, -1.0], task % 3)
    turn = Turn(0, reason, Usage(2, 3), tokens)
    return Trajectory([user_message(f"question {task}")], [assistant_message(text)], [turn], reason, model="policy")


def rollout(task: int, index: int) -> Rollout:
    """Task 0 uses a tool; 1 rewrote its history; all others answer in text, with rewards 0, 0.5, 1 and one outcome
    that is not scored in every fourth task."""
    reward = Reward((task + index) % 3 / 2)
    outcome = (Outcome.MASKED, Outcome.FAILED)[task // 4 % 2] if task % 4 == 3 and index == 3 else Outcome.SCORED
    row = {"responses_create_params": {"input": f"question {task}"}, "expected_answer": str(task), "_ng_task_index": 7}
    changes: dict[str, Any] = {"task": orjson.dumps(row), "params": {}}
    if outcome is Outcome.SCORED:
        changes["reward"] = reward
    if task < 2:
        return make_rollout(task, index, outcome, reward=reward, trajectory=two_turns(rewritten=task == 1))
    reason = FinishReason.LENGTH if index == 2 else FinishReason.STOP
    return make_rollout(task, index, outcome, trajectory=answer(task, f"answer {index % 3}", reason), **changes)


@pytest.fixture(scope="module", params=["parquet", "jsonl"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A finished run in one format: shards of some ten tasks, groups journaled out of order."""
    made = RunDir.create(str(tmp_path_factory.mktemp("export") / f"run-{request.param}"))
    rollouts = [rollout(task, index) for task in range(TASKS) for index in range(EACH)]
    journals = [JournalWriter(made, f"worker-{number}") for number in range(2)]
    for number, one in enumerate(sorted(rollouts, key=lambda one: (one.rollout_index, -one.task_number))):
        put(journals[number % 2], one)
    for journal in journals:
        journal.close()
    collect = {"rows_per_shard": 40, "formats": [request.param]}
    finalize(made, RunConfig(run_dir=made.address, envs={}, collect=collect), Plan())
    made.write(CONFIG, yaml.safe_dump({"envs": {"adder": {}}, "model": {"name": "policy", "kind": "vllm"}}).encode())
    rows = [
        {
            "task_number": task,
            "task_id": f"task-{task}",
            "environment": "adder",
            "first_index": first,
            "rollouts": 2,
            "line": task,
            "lines": 1,
            "row": rollout(task, 0).task,
        }
        for task in range(TASKS)
        for first in (0, 2)
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), made.path(f"{PLAN}/part-00000.parquet"))
    return made.address


@pytest.fixture
def exported(run: str, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Export and read the training split back, as a trainer's loader does."""

    def read(name: str, split: str = "train", **settings: Any) -> list[dict[str, Any]]:
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        export(run, name, ExportSettings(out=str(out), **settings))
        if FORMATS[name].schema is not None:
            found: list[dict[str, Any]] = pq.read_table(out / f"{split}.parquet").to_pylist()
            return found
        return [json.loads(line) for line in (out / f"{split}.jsonl").read_text().splitlines()]

    return read


def test_groups_are_whole_in_order_and_complete(run: str) -> None:
    groups = list(read_groups(run, tokens=True, tasks=True))
    assert [group.task_number for group in groups] == list(range(TASKS))
    assert all([one.index for one in group.rollouts] == list(range(EACH)) for group in groups)
    counts = Counter(one.outcome for group in groups for one in group.rollouts)
    assert counts == {Outcome.SCORED: 150, Outcome.MASKED: 5, Outcome.FAILED: 5}
    assert all(
        group.row is not None and group.row["id" if group.task_number < 2 else "expected_answer"] for group in groups
    )
    failed = groups[7].rollouts[3]
    assert (failed.outcome, failed.reward, failed.segments) == (Outcome.FAILED, None, [])
    assert failed.input[0]["content"] == "question 7"


def test_sft_has_scored_answers_only(exported: Callable[..., list[dict[str, Any]]]) -> None:
    rows = exported("openai_sft")
    assert len(rows) == 150
    assert rows[8] == {
        "messages": [{"role": "user", "content": "question 2"}, {"role": "assistant", "content": "answer 0"}]
    }
    assert len(exported("openai_sft", outcome="scored,masked")) == 155


def test_tool_calls_reasoning_and_tools(exported: Callable[..., list[dict[str, Any]]]) -> None:
    row = exported("openai_sft")[0]
    question, call, result, final = row["messages"]
    assert (question["role"], final["content"]) == ("user", "It is 4.")
    assert call["content"] == "<think>\nlet me add\n</think>"
    assert call["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 2, "b": 2}}
    assert result == {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "4"}
    assert row["tools"] == [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    table = exported("sft", reasoning="field")[0]
    assert table["messages"][1]["reasoning_content"] == "let me add"
    assert table["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"a":2,"b":2}'
    assert table["messages"][0]["tool_calls"] is None
    assert json.loads(table["tools"]) == row["tools"]
    assert json.loads(exported("trl_sft")[0]["tools"]) == row["tools"]


def test_prompts_are_the_planned_rows(exported: Callable[..., list[dict[str, Any]]]) -> None:
    rows = exported("nemo_rl_prompts")
    assert len(rows) == TASKS
    assert not [key for row in rows for key in row if key.startswith("_ng_")]
    assert rows[5] == {
        "responses_create_params": {"input": "question 5"},
        "expected_answer": "5",
        "agent_ref": {"type": "responses_api_agents", "name": "adder"},
    }


def test_preference_pairs_are_ranked_and_never_tied(exported: Callable[..., list[dict[str, Any]]]) -> None:
    rows = exported("preference")
    assert len(rows) == TASKS - 2, "the first two tasks say the same in all rollouts"
    for row in rows:
        assert row["chosen_reward"] > row["rejected_reward"]
        assert [one["rank"] for one in row["completions"]] == [0, 1]
        assert [message["role"] for message in row["context"]] == ["user"]
        assert row["completions"][0]["completion"] != row["completions"][1]["completion"]
    texts = exported("binary_preference")
    assert [row["chosen"] for row in texts] == [row["completions"][0]["completion"][0]["content"] for row in rows]
    chat = exported("trl_preference")
    assert [row["chosen"] for row in chat] == [row["completions"][0]["completion"] for row in rows]


def test_pair_policies(exported: Callable[..., list[dict[str, Any]]]) -> None:
    every = exported("trl_preference", pairs="all", margin=0.5)
    wide = exported("preference", pairs="all", margin=1.0)
    assert len(every) > len(wide) > 0
    assert {row["chosen_reward"] - row["rejected_reward"] for row in wide} == {1.0}
    drawn = [exported("preference", pairs="random", seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == TASKS - 2
    assert len(exported("preference", pairs="matched", margin=0.5)) == TASKS - 2


def test_filters(exported: Callable[..., list[dict[str, Any]]]) -> None:
    answers = Counter(row["messages"][-1]["content"] for row in exported("openai_sft", truncated=False))
    assert "answer 2" not in answers
    assert {row["messages"][-1]["content"] for row in exported("openai_sft", finish="length")} == {"answer 2"}
    best = exported("token_arrays", best=1, reward_min=1)
    assert {row["reward"] for row in best} == {1.0}
    assert max(Counter((row["task_id"], row["segment"]) for row in best).values()) == 1
    assert {row["task_id"] for row in exported("token_arrays", length_min=6)} == {"task-0"}
    rates = exported("nemo_rl_prompts", pass_rate_min=0.5)
    assert {int(row.get("expected_answer", 0)) % 3 for row in rates} == {2}
    assert len(exported("openai_sft", dedup=True)) < 120
    masked = exported("nemo_rl_prompts", where="any(outcome == 'masked') and max(reward) >= 1")
    assert [int(row["expected_answer"]) for row in masked] == [3, 11, 19, 27, 35]


def test_token_arrays_are_the_segments(exported: Callable[..., list[dict[str, Any]]], run: str) -> None:
    rows = exported("token_arrays")
    first = rows[0]
    assert first["token_ids"] == [1, 2, 3, 4, 5, 6, 7]
    assert first["loss_mask"] == [0, 0, 0, 1, 1, 0, 1]
    assert first["logprobs"] == [0, 0, 0, -0.5, -0.25, 0, -0.125]
    assert first["policy_version"] == [-1, -1, -1, 3, 3, -1, 4]
    rewritten = [row for row in rows if row["task_id"] == "task-1" and row["rollout_index"] == 0]
    assert [(row["segment"], row["token_ids"]) for row in rewritten] == [(0, [1, 2, 3, 4, 5]), (1, [9, 9, 6, 7])]
    assert all(len(row["token_ids"]) == len(row["logprobs"]) == len(row["loss_mask"]) for row in rows)


def test_verl(exported: Callable[..., list[dict[str, Any]]]) -> None:
    row = exported("verl_rl", validation=0.2)[3]
    assert row["prompt"][0]["role"] == "user"
    assert (row["data_source"], row["extra_info"]["split"]) == ("adder", "train")
    assert json.loads(row["extra_info"]["task"]).get("expected_answer", "4") == row["reward_model"]["ground_truth"]
    assert len(exported("verl_sft")) == 150 - 2 * EACH, "conversations with tools are refused"


def test_atif(exported: Callable[..., list[dict[str, Any]]]) -> None:
    document = exported("atif")[0]
    asked, called, ended = document["steps"]
    assert [step["source"] for step in document["steps"]] == ["user", "agent", "agent"]
    assert (asked["step_id"], called["reasoning_content"], ended["message"]) == (1, "let me add", "It is 4.")
    call = called["tool_calls"][0]
    assert call == {"tool_call_id": "call_1", "function_name": "add", "arguments": {"a": 2, "b": 2}}
    assert called["observation"]["results"] == [{"source_call_id": "call_1", "content": "4"}]
    assert document["final_metrics"] == {"total_prompt_tokens": 9, "total_completion_tokens": 3, "total_steps": 3}
    assert document["extra"]["reward"] == 0.0


def test_a_task_is_in_one_split(exported: Callable[..., list[dict[str, Any]]]) -> None:
    shares = {"validation": 0.3, "test": 0.2}
    splits = {name: exported("token_arrays", name, **shares) for name in ("train", "validation", "test")}
    tasks = [{row["task_id"] for row in rows} for rows in splits.values()]
    assert all(tasks)
    assert sum(map(len, tasks)) == len(set.union(*tasks)) == TASKS


def test_the_card_says_where_it_came_from(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["export", run, "--to", "openai_sft", f"out={out}", "reward_min=1", "validation=0.2"]) == 0
    card = (out / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert [one["path"] for one in front["configs"][0]["data_files"]] == ["train.jsonl", "validation.jsonl"]
    source = json.loads((Path(run) / "manifest.json").read_text())["source"]
    for line in (f"| run | {run} |", source, "policy (vllm)", "| rollouts left out by `reward_min` |", "0 to 4"):
        assert line in card
    assert "10 dropped" in capsys.readouterr().out, "the masked and failed ones"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "openai_sfd", "out=x"], "nearest: openai_sft"),
        (["--to", "sft", "out=x", "reward_mix=1"], "nearest: reward_mi"),
        (["--to", "sft", "out=x", "best=0"], "best: "),
        (["--to", "sft", "out=x", "outcome=good"], "outcome[0]: "),
        (["--to", "sft", "out=x", "env=other"], "env: no environment `other` in "),
        (["--to", "sft", "out=x", "where=any(rewards >= 1)"], "where: `rewards`: no such name; nearest: reward"),
        (["--to", "sft", "out=x", "where=mean(reward) >"], "where: cannot be read"),
        (["--to", "sft"], "out=FOLDER is missing"),
        (["out=x"], "--to FORMAT is missing"),
        (["--to", "sft", "out=x", "--fast"], "`--fast`"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], said: str, run: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", run, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_nothing_left_and_full_folders(run: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"nothing left.*160 rollouts.*reward_min: 150 dropped"):
        export(run, "sft", ExportSettings(out=str(out), reward_min=9))
    assert not out.exists()
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(UserError, match="not empty"):
        export(run, "sft", ExportSettings(out=str(out)))


def test_a_run_without_shards(tmp_path: Path) -> None:
    unfinished = RunDir.create(str(tmp_path / "run"))
    unfinished.write(CONFIG, b"{}")
    with pytest.raises(UserError, match="no shards yet"):
        export(unfinished.address, "sft", ExportSettings(out=str(tmp_path / "out")))


def test_help_has_every_format_and_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--help"]) == 0
    text = capsys.readouterr().out
    assert not [name for name in (*FORMATS, *ExportSettings.model_fields) if name not in text]
