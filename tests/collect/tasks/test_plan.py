"""The plan: what is written, and what a resumed run may and may not change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gym_ray import ResourcesServer, TaskRow
from gym_ray.collect.config import RunConfig
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.tasks import plan as plan_module
from gym_ray.collect.tasks.plan import BAD_TASKS, Plan, load_plan, write_plan
from gym_ray.types.errors import UserError


class Quiz(ResourcesServer):
    class Task(TaskRow):
        expected: int


def row(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "responses_create_params": {"input": f"{number}?"}, "expected": number, **fields}


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in rows))
    return str(path)


class Case:
    """A run directory and its task file."""

    def __init__(self, folder: Path) -> None:
        self.tasks, self.run = folder / "tasks.jsonl", RunDir.create(str(folder / "lr=1"))

    def config(self, rollouts: int = 2, envs: tuple[str, ...] = ("quiz",), **tasks: Any) -> RunConfig:
        return RunConfig.model_validate(
            {
                "run_dir": self.run.address,
                "envs": {name: {"server": "unused:Quiz"} for name in envs},
                "tasks": {"path": str(self.tasks), **tasks},
                "collect": {"rollouts_per_task": rollouts},
            }
        )

    def write(self, **settings: Any) -> Plan:
        config = self.config(**settings)
        return write_plan(self.run, config, dict.fromkeys(config.envs, Quiz))

    def rows(self) -> list[dict[str, Any]]:
        plan = load_plan(self.run)
        assert plan is not None
        tables = [pq.read_table(path, partitioning=None) for path in plan.files(self.run)]
        return [row for table in tables for row in table.to_pylist()]

    def keys(self) -> list[tuple[str, str, int]]:
        return [
            (row["environment"], row["task_id"], row["first_index"] + offset)
            for row in self.rows()
            for offset in range(row["rollouts"])
        ]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_plan_lists_every_task_once_with_its_row(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "PART_ROWS", 4)
    write(case.tasks, *(row(number) for number in range(10)))
    plan = case.write(rollouts=3)
    assert (plan.tasks, plan.rows, plan.rollouts, plan.parts, plan.bad_rows) == (10, 10, 30, 3, 0)
    assert plan == load_plan(case.run)
    rows = case.rows()
    assert [found["task_number"] for found in rows] == list(range(10))
    assert json.loads(rows[3]["row"]) == row(3)
    assert {(found["first_index"], found["rollouts"]) for found in rows} == {(0, 3)}


def test_equal_lines_are_further_rollouts_of_one_task(case: Case) -> None:
    write(case.tasks, row(0), row(0), row(1), row(0))
    plan = case.write(rollouts=2)
    assert (plan.tasks, plan.rollouts, plan.rows) == (2, 8, 3)
    spans = [(found["task_number"], found["first_index"], found["rollouts"]) for found in case.rows()]
    assert spans == [(0, 0, 4), (1, 0, 2), (0, 4, 2)]


def test_large_rows_make_small_parts(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "PART_BYTES", 1000)
    write(case.tasks, *(row(number, filler="x" * 1200) for number in range(4)))
    assert case.write().parts == 4


def test_bad_rows_stop_with_all_of_them_and_no_plan(case: Case) -> None:
    write(case.tasks, row(0), "{", row(1, expected="x"), row(2))
    with pytest.raises(UserError) as caught:
        case.write()
    message = str(caught.value)
    assert message.startswith("tasks: 2 bad rows")
    assert f"{case.tasks}:2: row: not JSON" in message
    assert f"{case.tasks}:3: expected: " in message
    assert load_plan(case.run) is None
    assert not case.run.exists(BAD_TASKS)


def test_bad_rows_are_recorded_when_skipped(case: Case) -> None:
    write(case.tasks, row(0), "{", row(1, expected="x"), row(2))
    plan = case.write(on_bad_row="skip")
    assert (plan.tasks, plan.bad_rows) == (2, 2)
    records = [json.loads(line) for line in case.run.read(BAD_TASKS).splitlines()]
    assert [(record["file"], record["line"]) for record in records] == [(str(case.tasks), 2), (str(case.tasks), 3)]
    assert records[1]["problems"] == [
        "expected: input should be a valid integer, unable to parse string as an integer, got 'x'"
    ]


def test_no_bad_row_leaves_no_record(case: Case) -> None:
    write(case.tasks, row(0))
    case.write(on_bad_row="skip")
    assert not case.run.exists(BAD_TASKS)


def test_no_task_at_all_is_an_error(case: Case) -> None:
    write(case.tasks)
    with pytest.raises(UserError, match=f"no task for quiz in {case.tasks}"):
        case.write()


def test_an_untouched_plan_is_not_even_read(case: Case) -> None:
    write(case.tasks, row(0), row(1))
    plan = case.write()
    Path(plan.files(case.run)[0]).unlink()
    assert case.write() == plan


def test_a_touched_but_equal_file_keeps_the_plan(case: Case) -> None:
    write(case.tasks, row(0), row(1))
    before, rows = case.write(), case.rows()
    write(case.tasks, row(0), "", row(1))
    after = case.write()
    assert case.rows() == rows
    assert (after.fingerprint, after.parts) == (before.fingerprint, before.parts)
    assert after.sources != before.sources


def test_appended_tasks_and_more_rollouts_extend_the_plan(case: Case) -> None:
    write(case.tasks, row(0), row(0), row(1))
    case.write(rollouts=2)
    write(case.tasks, row(0), row(0), row(1), row(2), row(1))
    first = case.rows()
    plan = case.write(rollouts=3)
    assert case.rows()[: len(first)] == first
    keys = case.keys()
    assert len(keys) == len(set(keys)) == plan.rollouts == 15
    assert sorted(keys) == sorted(
        ("quiz", task, index) for task, n in (("0", 6), ("1", 6), ("2", 3)) for index in range(n)
    )
    assert case.write(rollouts=3) == plan


def test_a_higher_limit_and_a_new_environment_keep_old_numbers(case: Case) -> None:
    write(
        case.tasks,
        *(row(number, environment="quiz") for number in range(4)),
        *(row(number, environment="math") for number in range(4)),
        *(row(number, environment="zoo") for number in range(4)),
    )
    case.write(envs=("quiz", "math"), limit=2, on_bad_row="skip")
    first = case.rows()
    plan = case.write(envs=("quiz", "math", "zoo"), limit=3)
    rows = case.rows()
    assert rows[:4] == first
    numbers = {(found["environment"], found["task_id"]): found["task_number"] for found in rows}
    assert sorted(numbers.values()) == list(range(9))
    assert plan.environments["zoo"].rollouts == 6


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(0), row(5), row(2)], "row 2 of quiz was task '1' when this run was planned and is now task '5'"),
        ([row(0), row(1, hint="?"), row(2)], "row 2 of quiz was task '1' when this run was planned and has different"),
        ([row(0), row(1)], "this run planned 3 rows of quiz, the task files now have 2"),
    ],
)
def test_changed_tasks_are_an_error_that_names_the_first(case: Case, rows: list[Any], message: str) -> None:
    write(case.tasks, row(0), row(1), row(2))
    plan = case.write()
    write(case.tasks, *rows)
    with pytest.raises(UserError, match=message) as caught:
        case.write()
    assert "new run_dir" in str(caught.value)
    assert load_plan(case.run) == plan


def test_fewer_rollouts_are_an_error(case: Case) -> None:
    write(case.tasks, row(0))
    case.write(rollouts=2)
    with pytest.raises(UserError, match="planned 2 and cannot shrink to 1"):
        case.write(rollouts=1)


def test_a_changed_prompt_is_a_changed_task(case: Case, tmp_path: Path) -> None:
    task = {"id": 0, "expected": 1, "question": "why?"}
    write(case.tasks, task)
    prompt = tmp_path / "p.yaml"
    prompt.write_text("user: '{question}'")
    case.write(prompt=str(prompt))
    assert json.loads(case.rows()[0]["row"])["responses_create_params"]["input"] == [
        {"role": "user", "content": "why?"}
    ]
    prompt.write_text("user: 'Q: {question}'")
    with pytest.raises(UserError, match="has different content"):
        case.write(prompt=str(prompt))


def test_parts_of_a_plan_that_died_do_not_count(case: Case) -> None:
    write(case.tasks, row(0), row(1))
    case.write()
    # What an extension leaves that was killed before plan.json.
    Path(case.run.path("journal/plan/part-00001.parquet")).write_bytes(b"torn")
    write(case.tasks, row(0), row(1), row(2))
    assert case.write().tasks == 3
    assert len(case.keys()) == 6


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.lists(st.integers(0, 6), min_size=1, max_size=12),
    more=st.lists(st.integers(0, 9), max_size=12),
    rollouts=st.tuples(st.integers(1, 3), st.integers(0, 2)),
)
def test_growing_in_steps_plans_the_same_rollouts_as_at_once(
    tmp_path_factory: pytest.TempPathFactory, first: list[int], more: list[int], rollouts: tuple[int, int]
) -> None:
    stepwise, at_once = Case(tmp_path_factory.mktemp("a")), Case(tmp_path_factory.mktemp("b"))
    write(stepwise.tasks, *map(row, first))
    stepwise.write(rollouts=rollouts[0])
    for case in (stepwise, at_once):
        write(case.tasks, *map(row, first + more))
    grown = stepwise.write(rollouts=sum(rollouts))
    whole = at_once.write(rollouts=sum(rollouts))
    assert sorted(stepwise.keys()) == sorted(at_once.keys())
    assert len(stepwise.keys()) == len(set(stepwise.keys()))
    assert (grown.fingerprint, grown.environments, grown.tasks) == (whole.fingerprint, whole.environments, whole.tasks)
    assert grown.rows == len(stepwise.rows())
