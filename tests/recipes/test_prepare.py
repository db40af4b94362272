"""tasks prepare, on small blends of our own in the published shapes."""

from __future__ import annotations

import json
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gym_ray.cli.main import main
from gym_ray.cli.recipe import HOSTED, Recipe, compose_recipe
from gym_ray.collect.tasks.placeholders import DAPO_BEGINS, DAPO_ENDS
from gym_ray.collect.tasks.reader import TaskLine, TaskReader
from gym_ray.resources.load import load_server
from tests.environments.support import rows_of
from tests.environments.test_swe_images import published

NANO, SUPER, REPAIRS = "nemotron3_nano/rlvr", "nemotron3_super/rlvr1", "nemotron3_super/swe2"
Row = dict[str, Any]
PREFIX = {"prefix": "Solve this.\n\n", "suffix": ""}
SUFFIX = {"prefix": "", "suffix": "\n\nEnd with Answer: and the answer."}


@lru_cache
def recipe(name: str) -> Recipe:
    return compose_recipe(name)


def pointing(dataset: str, row: Any, template: Any) -> Row:
    agent = {"type": "responses_api_agents", "name": "math_with_judge_simple_agent"}
    pointer = {"row": row, "question_template": template}
    return {
        "dataset": dataset,
        "agent_ref": agent,
        "_hf_placeholder": pointer,
        "responses_create_params": {"input": []},
    }


def sources(folder: Path) -> list[str]:
    """Both data sets that placeholders point into, five rows each; Skywork in two files."""
    dapo = [
        {"prompt": [{"role": "user", "content": f"{DAPO_BEGINS}\n\nWhat is {n} + {n}?\n\n{DAPO_ENDS}"}],
         "reward_model": {"ground_truth": str(2 * n), "style": "rule"}}
        for n in range(5)
    ]  # fmt: skip
    skywork = [
        {"prompt": [{"role": "user", "content": f"Triple {n}."}], "reward_model": {"ground_truth": f'["{3 * n}", "x"]'}}
        for n in range(5)
    ]
    pq.write_table(pa.Table.from_pylist(dapo), folder / "dapo.parquet")
    (folder / "skywork").mkdir()
    for number, part in enumerate((skywork[:2], skywork[2:])):
        (folder / "skywork" / f"math-{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return [f"dapo={folder / 'dapo.parquet'}", f"skywork={folder / 'skywork'}"]


def examples(name: str) -> list[Row]:
    """One row for each name under which an environment of the recipe may be asked for, as published rows look."""
    rows = []
    for environment in recipe(name).config.envs.values():
        server = load_server(environment.server)
        plain = {"responses_create_params": {"input": "x"}}
        found = plain if environment.server.startswith(HOSTED) else rows_of(server.examples(environment.options))[0]
        row = {key: value for key, value in found.items() if key not in ("environment", "task_id")}
        for alias in environment.aliases:
            rows.append({**row, "agent_ref": {"type": "responses_api_agents", "name": alias}, "_ng_task_index": 7})
    return rows


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return f"in={path}"


def run(*words: str) -> int:
    return main(["tasks", "prepare", *words])


def read(path: Path) -> list[Row]:
    return rows_of(path) if path.exists() else []


def test_every_kind_of_placeholder(tmp_path: Path) -> None:
    rows = [
        pointing("nano_v3_sft_profiled_dapo17k", 1, PREFIX),
        pointing("super_v3_lcsft_step1000_dapo17k", 4, SUFFIX),
        pointing("nano_v3_sft_profiled_skywork_no_omni", 0, "Q: {question}"),
        pointing("super_v3_lcsft_step1000_skyworks", "3", {"template": "Do: {question} Box it."}),
    ]
    out = tmp_path / "out"
    assert (
        run(f"recipe={NANO}", write(tmp_path / "b.jsonl", rows), f"out={out}", "validation=0", *sources(tmp_path)) == 0
    )
    made = read(out / "train.jsonl")
    assert [row["responses_create_params"]["input"][0]["content"] for row in made] == [
        "Solve this.\n\n\n\nWhat is 1 + 1?",
        "\n\nWhat is 4 + 4?\n\n\n\nEnd with Answer: and the answer.",
        "Q: Triple 0.",
        "Do: Triple 3. Box it.",
    ]
    assert [row["expected_answer"] for row in made] == ["2", "8", "0", "9"]
    assert [row["question"] for row in made][2:] == ["Triple 0.", "Triple 3."]
    assert all("_hf_placeholder" not in row and row["environment"] == "math" for row in made)
    assert len({row["task_id"] for row in made}) == 4


@pytest.mark.parametrize("name", [NANO, SUPER, "nemotron3_super/swe1", "nemotron3_super/swe2", "nemotron3_super/rlhf"])
def test_every_agent_finds_its_environment(tmp_path: Path, name: str) -> None:
    rows, config = examples(name), recipe(name).config
    if "nl2bash" in config.envs:
        judged = next(row for row in rows if row["agent_ref"]["name"] == "equivalence_llm_judge_simple_agent")
        rows.append({**judged, "dataset": "super_v3_nl2bash_v2"})
    out = tmp_path / "out"
    assert run(f"recipe={name}", write(tmp_path / "b.jsonl", rows), f"out={out}", "validation=0") == 0
    made = read(out / "train.jsonl")
    wanted = {alias: env for env, environment in config.envs.items() for alias in environment.aliases}
    for row in made:
        routed = "nl2bash" if "nl2bash" in row.get("dataset", "") else wanted[row["agent_ref"]["name"]]
        assert row["environment"] == routed
        assert not [key for key in row if key.startswith("_ng_")]
    assert {row["environment"] for row in made} == set(config.envs)
    summary = json.loads((out / "prepared.json").read_text())
    assert summary["agents"].items() <= wanted.items()
    # What was written is what a run reads, the whole blend and each environment's part.
    servers = {env: load_server(environment.server) for env, environment in config.envs.items()}
    tasks = config.tasks.model_copy(update={"path": str(out / "train.jsonl")})
    taken = list(TaskReader(tasks, config.envs, servers))
    assert all(isinstance(line, TaskLine) for line in taken)
    counts = Counter(line.environment for line in taken if isinstance(line, TaskLine))
    assert counts == {env: len(read(out / "train" / f"{env}.jsonl")) for env in config.envs}


def blend(count: int) -> list[Row]:
    """Rows in an order that is a curriculum: the number is in the answer."""
    agents = {"mcqa": "mcqa_simple_agent", "math": "math_with_judge_simple_agent"}
    rows = []
    for number in range(count):
        name = "mcqa" if number % 3 else "math"
        row = rows_of(load_server(recipe(NANO).config.envs[name].server).examples({}))[0]
        plain = {key: value for key, value in row.items() if key not in ("task_id", "environment")}
        rows.append({**plain, "id": number % 5, "pass_rate": number / count, "agent_ref": {"name": agents[name]}})
    return rows


def test_the_last_rows_are_for_validation_and_order_is_kept(tmp_path: Path) -> None:
    rows, out = blend(20), tmp_path / "out"
    assert run(f"recipe={NANO}", write(tmp_path / "b.jsonl", rows), f"out={out}", "validation=6") == 0
    train, validation = read(out / "train.jsonl"), read(out / "validation.jsonl")
    assert [row["pass_rate"] for row in train + validation] == [row["pass_rate"] for row in rows]
    assert len(validation) == 6
    # Ids that other rows have too are told apart, else a run would refuse them.
    assert len({(row["environment"], row["task_id"]) for row in train + validation}) == 20


def test_wrong_rows_are_named_and_nothing_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = blend(4)
    rows: list[Any] = [
        good[0],
        "{not json",
        {**good[1], "agent_ref": {"name": "mcqa_simple_agnt"}},
        {key: value for key, value in good[1].items() if key != "options"},
        pointing("nano_v3_sft_profiled_dapo17k", 99, PREFIX),
        pointing("nano_v3_sft_profiled_dapo17k", 1, {}),
        pointing("somebody_elses_set", 1, PREFIX),
        pointing("nano_v3_sft_profiled_skywork_no_omni", 1, "no place for it"),
        pointing("nano_v3_sft_profiled_dapo17k", -1, PREFIX),
        good[2],
        good[3],
    ]
    out, given = (
        tmp_path / "out",
        [f"recipe={NANO}", write(tmp_path / "b.jsonl", rows), "validation=1", *sources(tmp_path)],
    )
    assert run(*given, f"out={out}") == 2
    error = capsys.readouterr().err
    for line, part in {
        2: "not JSON",
        3: "nearest: mcqa_simple_agent",
        4: "options",
        5: "row 99 of dapo is not there",
        6: "prefix or a suffix",
        7: "'somebody_elses_set'",
        8: "{question}",
        9: "row number from 0",
    }.items():
        assert any(f"b.jsonl:{line}: " in text and part in text for text in error.splitlines()), (line, error)
    assert not list(out.rglob("*.jsonl*"))
    assert run(*given, f"out={out}", "on_bad_row=skip") == 0
    assert "11 rows = 2 train + 1 validation + 8 bad" in capsys.readouterr().out
    assert (len(read(out / "train.jsonl")), len(read(out / "validation.jsonl"))) == (2, 1)
    assert [row["line"] for row in read(out / "bad_rows.jsonl")] == list(range(2, 10))


def test_rows_of_repairs_are_taken_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [published(), published(FAIL_TO_PASS='["test_a (b.C)"]')]
    given, out = [f"recipe={REPAIRS}", write(tmp_path / "b.jsonl", rows), "validation=0"], tmp_path / "out"
    assert run(*given, f"out={out}") == 2
    assert "b.jsonl:2: " in capsys.readouterr().err
    assert run(*given, f"out={out}", "on_bad_row=skip") == 0
    (made,) = read(out / "train.jsonl")
    assert (made["environment"], made["task_id"], made["image"]) == ("swe", "stock__stock-1", "stock__stock-1")


def test_a_source_that_was_not_given_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = write(tmp_path / "b.jsonl", [pointing("x_dapo17k", 0, PREFIX)])
    assert run(f"recipe={NANO}", given, f"out={tmp_path / 'o'}") == 2
    assert "no dapo=FILE was given" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["in=x"], "recipe=NAME"),
        ([f"recipe={NANO}"], "in=PATH"),
        ([f"recipe={NANO}x", "in=x"], f"nearest: {NANO}"),
        ([f"recipe={NANO}", "in=/nowhere.jsonl"], "no such file"),
        ([f"recipe={NANO}", "in=x", "dappo=y"], "nearest: dapo"),
        ([f"recipe={NANO}", "in=x", "validation=-1"], "whole number"),
        ([f"recipe={NANO}", "in=x", "on_bad_row=cry"], "stop or skip"),
    ],
)
def test_wrong_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(*words, *([] if any("out=" in word for word in words) else [f"out={tmp_path}"])) == 2
    assert message in capsys.readouterr().err
