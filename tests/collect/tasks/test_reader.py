"""Reading task files: formats, routing, ids, prompts, and every way a row can be bad."""

from __future__ import annotations

import bz2
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import field_validator

from gym_ray import ResourcesServer, TaskRow
from gym_ray.collect.config import TasksConfig
from gym_ray.collect.tasks.bad_rows import BadRow, BadRows
from gym_ray.collect.tasks.reader import TaskLine, TaskReader
from gym_ray.collect.tasks.sources import find_sources
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.types.errors import UserError


class Quiz(ResourcesServer):
    class Task(TaskRow):
        expected: int


class Fussy(ResourcesServer):
    class Task(TaskRow):
        @field_validator("responses_create_params", mode="before")
        @classmethod
        def _explode(cls, value: Any) -> Any:
            raise RuntimeError("the author's bug")


ENV = EnvironmentConfig(server="unused:Quiz")


def row(expected: Any = 1, **fields: Any) -> dict[str, Any]:
    return {"responses_create_params": {"input": "2+2?"}, "expected": expected, **fields}


def write(path: Path, *rows: Any) -> str:
    path.write_bytes(b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in rows))
    return str(path)


def reader(path: str | list[str] | None, **settings: Any) -> TaskReader:
    names = settings.pop("envs", ["quiz"])
    envs = names if isinstance(names, dict) else dict.fromkeys(names, ENV)
    return TaskReader(TasksConfig(path=path, **settings), envs, dict.fromkeys(envs, Quiz))


def good(*arguments: Any, **settings: Any) -> list[TaskLine]:
    found = list(reader(*arguments, **settings))
    assert all(isinstance(item, TaskLine) for item in found), found
    return [item for item in found if isinstance(item, TaskLine)]


def bad(*arguments: Any, **settings: Any) -> list[str]:
    return [line for item in reader(*arguments, **settings) if isinstance(item, BadRow) for line in item.lines()]


def test_rows_pass_through_byte_for_byte(tmp_path: Path) -> None:
    raw = b'{"expected": 4,  "responses_create_params": {"input": "\\u0041"}, "unknown": [1.50]}'
    (task,) = good(write(tmp_path / "t.jsonl", raw + b"\r\n"))
    assert task.row == raw
    assert (task.number, task.fresh, task.environment) == (0, True, "quiz")


def test_bom_blank_lines_and_a_missing_last_newline(tmp_path: Path) -> None:
    body = b"\xef\xbb\xbf" + json.dumps(row(id=1)).encode() + b"\n\n  \n" + json.dumps(row(id=2)).encode()
    assert [task.task_id for task in good(write(tmp_path / "t.jsonl", body))] == ["1", "2"]


def test_line_numbers_count_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", b"\n", row(), b"\n", b"{oops\n")
    (message,) = bad(path)
    assert message.startswith(f"{path}:4: row: not JSON: ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"expected": NaN}', "row: not JSON: NaN at column 14"),
        (b'{"expected": -Infinity}', "row: not JSON: Infinity at column"),
        (b"[1, 2]", "row: must be a JSON object, is list (one object per line, not one array)"),
        (b'"text"', "row: must be a JSON object, is str"),
        (b'{"a": "\xff"}', "row: not JSON: str is not valid UTF-8"),
        (json.dumps(row("many")).encode(), "expected: input should be a valid integer"),
        (b'{"responses_create_params": {"input": "x"}}', "expected: field required"),
        (b'{"expected": 1}', "responses_create_params: field required"),
        (json.dumps(row(responses_create_params={"input": []})).encode(), "responses_create_params: `input` must be"),
        (json.dumps(row(environment="quizz")).encode(), "environment: no environment `quizz` is chosen"),
    ],
)
def test_each_bad_row_names_file_line_and_field(tmp_path: Path, line: bytes, message: str) -> None:
    path = write(tmp_path / "t.jsonl", row(0), line + b"\n", row(2))
    assert len(bad(path)) == 1
    assert bad(path)[0].startswith(f"{path}:2: {message}")
    assert len([item for item in reader(path) if isinstance(item, TaskLine)]) == 2


def test_all_problems_of_a_row_come_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", {"expected": "x"})
    assert [message.split(": ")[1] for message in bad(path)] == ["responses_create_params", "expected"]


def test_an_authors_raising_validator_costs_one_row(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", row())
    (item,) = TaskReader(TasksConfig(path=path), {"fussy": ENV}, {"fussy": Fussy})
    assert isinstance(item, BadRow)
    assert item.problems == ["row: fussy's Task class raised RuntimeError: the author's bug"]


def test_utf16_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", json.dumps(row()).encode("utf-16"))
    assert "UTF-16" in bad(path)[0]


def test_a_line_above_the_limit_is_one_bad_row_and_is_never_held(tmp_path: Path) -> None:
    huge = b'{"responses_create_params": {"input": "' + b"x" * 40_000_000 + b'"}}\n'
    path = write(tmp_path / "t.jsonl", row(id=1), huge, row(id=2))
    del huge
    tracemalloc.start()
    items = list(reader(path, max_row_mb=3))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [type(item) for item in items] == [TaskLine, BadRow, TaskLine]
    assert isinstance(items[1], BadRow)
    assert items[1].lines() == [f"{path}:2: row: the line is longer than tasks.max_row_mb (3 MB)"]
    assert peak < 12_000_000


def test_a_20_mb_line_is_a_task_when_allowed(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", row(1, id=1), row(2, id=2, filler="x" * 20_000_000), row(3, id=3))
    assert [task.task_id for task in good(path)] == ["1", "2", "3"]


def test_rows_route_by_environment_then_agent_then_source(tmp_path: Path) -> None:
    envs = {"quiz": ENV, "math": EnvironmentConfig(server="unused:Math", aliases=["math_agent", "aime"])}
    path = write(
        tmp_path / "t.jsonl",
        row(1, environment="quiz", agent_ref={"name": "math_agent"}),
        row(2, agent_ref={"name": "math_agent"}, task_source="quiz"),
        row(3, task_source="aime"),
        row(4, task_source="nothing"),
        row(5),
    )
    items = list(reader(path, envs=envs))
    assert [item.environment for item in items if isinstance(item, TaskLine)] == ["quiz", "math", "math"]
    messages = [line for item in items if isinstance(item, BadRow) for line in item.lines()]
    assert messages[0].endswith("task_source: no environment `nothing` is chosen (chosen: math, quiz)")
    assert "environment: missing, and several are chosen" in messages[1]


def test_one_environment_takes_rows_of_unknown_agents_and_names_its_neighbour(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", row(1, agent_ref={"name": "some_simple_agent"}), row(2, environment="qiz"))
    items = list(reader(path))
    assert isinstance(items[0], TaskLine)
    assert isinstance(items[1], BadRow)
    assert "nearest: quiz" in items[1].problems[0]


def test_an_environments_own_files_are_its_whatever_their_rows_say(tmp_path: Path) -> None:
    own = write(tmp_path / "own.jsonl", row(1, environment="elsewhere"))
    envs = {"quiz": EnvironmentConfig(server="x:Q", tasks=own), "math": ENV}
    shared = write(tmp_path / "shared.jsonl", row(2, environment="math"), row(3, environment="quiz"))
    assert [task.environment for task in good(shared, envs=envs)] == ["math", "quiz", "quiz"]


def test_ids_come_from_the_first_known_key_and_else_from_the_content(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.jsonl",
        row(id=7, uuid="u", task_id="t"),
        row(id=7, uuid="u"),
        row(id=7),
        row(id=True),
        row(id=[1]),
    )
    ids = [task.task_id for task in good(path)]
    assert ids[:3] == ["t", "u", "7"]
    assert all(len(task_id) == 16 and int(task_id, 16) >= 0 for task_id in ids[3:])
    assert len(set(ids)) == 5


def test_equal_lines_are_one_task_and_different_ones_with_one_id_an_error(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", row(1, id="x"), row(2), row(1, id="x"))
    second = write(tmp_path / "b.jsonl", row(2), row(9, id="x"))
    items = list(reader([first, second]))
    assert [(item.number, item.fresh) for item in items if isinstance(item, TaskLine)] == [
        (0, True),
        (1, True),
        (0, False),
        (1, False),
    ]
    assert isinstance(items[-1], BadRow)
    assert items[-1].lines() == [f"{second}:2: id: 'x' is also at {first}:1, with different content"]


def test_ids_count_per_environment(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", row(1, id=0, environment="quiz"), row(2, id=0, environment="math"))
    assert [task.number for task in good(path, envs=["quiz", "math"])] == [0, 1]


def test_limit_counts_good_rows_per_environment_and_stops_reading(tmp_path: Path) -> None:
    rows = [row(n, environment=env) for n in range(5) for env in ("quiz", "math")]
    path = write(tmp_path / "t.jsonl", b"broken\n", *rows, b"broken\n")
    items = list(reader(path, envs=["quiz", "math"], limit=2))
    assert [type(item) for item in items] == [BadRow, TaskLine, TaskLine, TaskLine, TaskLine]


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("zst", None)])
def test_compressed_files(tmp_path: Path, suffix: str, pack: Any) -> None:
    body = b"".join(json.dumps(row(n)).encode() + b"\n" for n in range(1000))
    pack = pack or (lambda data: pa.compress(data, codec="zstd", asbytes=True))
    (tmp_path / f"t.jsonl.{suffix}").write_bytes(pack(body))
    assert len(good(str(tmp_path / f"t.jsonl.{suffix}"))) == 1000


def test_a_truncated_archive_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(row()).encode() * 1000)[:40])
    with pytest.raises(UserError, match=f"{path}: cannot be read"):
        good(str(path))


def test_parquet_rows_are_json_without_nulls(tmp_path: Path) -> None:
    path = str(tmp_path / "t.parquet")
    structs = [{"input": [{"role": "user", "content": "hi", "name": None}], "tools": None}] * 2
    pq.write_table(pa.table({"responses_create_params": structs, "expected": [1, None], "id": ["a", "b"]}), path)
    items = list(reader(path))
    assert isinstance(items[0], TaskLine)
    content = {"role": "user", "content": "hi"}
    assert json.loads(items[0].row) == {"responses_create_params": {"input": [content]}, "expected": 1, "id": "a"}
    assert isinstance(items[1], BadRow)
    assert items[1].lines() == [f"{path}:2: expected: field required"]


def test_parquet_may_carry_the_request_as_text(tmp_path: Path) -> None:
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.table({"responses_create_params": ['{"input": "hi"}', "{"], "expected": [1, 2]}), path)
    items = list(reader(path))
    assert [type(item) for item in items] == [TaskLine, BadRow]


def test_directories_and_globs(tmp_path: Path) -> None:
    for name in ("a/1.jsonl", "a/b/2.jsonl", "a/b/3.txt", "a/.hidden.jsonl", "4.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, row())

    def names(address: str) -> list[str]:
        return [source.address.removeprefix(f"{tmp_path}/") for source in find_sources(address)]

    assert names(f"{tmp_path}/a") == ["a/1.jsonl", "a/b/2.jsonl"]
    assert names(f"{tmp_path}/*.jsonl") == ["4.jsonl"]
    assert names(f"{tmp_path}/**/*.jsonl") == ["4.jsonl", "a/1.jsonl", "a/b/2.jsonl"]
    assert names(f"{tmp_path}/a/[0-9].jsonl") == ["a/1.jsonl"]
    assert names(f"{tmp_path}/?.jsonl") == ["4.jsonl"]


def test_relative_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "1.jsonl", row())
    monkeypatch.chdir(tmp_path)
    assert [source.address for source in find_sources("./*.jsonl")] == ["./1.jsonl"]
    assert len(good("*.jsonl")) == 1


def test_addresses_of_other_filesystems(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/t.jsonl", json.dumps(row()).encode())
    assert len(good("memory://bucket/*.jsonl")) == 1
    write(tmp_path / "t.jsonl", row())
    assert len(good(f"file://{tmp_path}/t.jsonl")) == 1
    with pytest.raises(UserError, match="no filesystem for `nope://`"):
        find_sources("nope://x/t.jsonl")


@pytest.mark.parametrize("name", ["gone.jsonl", "gone/*.jsonl", "empty"])
def test_nothing_there_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no such file or directory, or no task file in it"):
        reader(str(tmp_path / name))


def test_an_unknown_suffix_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown format"):
        reader(write(tmp_path / "t.csv", b"a,b\n"))


def test_a_table_made_elsewhere_is_tasks(tmp_path: Path) -> None:
    """Columns as NeMo Data Designer writes them, say: a Parquet table with names of its own."""
    table = pa.table({"problem": ["2+2?", "3+3?"], "solution": [4, 6], "topic": ["sums", "sums"]})
    pq.write_table(table, tmp_path / "designed.parquet")
    prompt = tmp_path / "p.yaml"
    prompt.write_text("user: '{problem}'\nfields: {expected: '{solution}', note: 'on {topic}'}\n")
    rows = [json.loads(task.row) for task in good(str(tmp_path / "designed.parquet"), prompt=str(prompt))]
    assert [(made["expected"], made["note"]) for made in rows] == [(4, "on sums"), (6, "on sums")]
    assert rows[0]["responses_create_params"]["input"] == [{"role": "user", "content": "2+2?"}]
    prompt.write_text("user: '{problem}'\nfields: {expected: '{answer}'}\n")
    assert "answer: the prompt needs this field" in bad(str(tmp_path / "designed.parquet"), prompt=str(prompt))[0]


def test_fields_within_a_structured_column_keep_their_types(tmp_path: Path) -> None:
    """The folder, text type and nesting of NeMo Data Designer 0.9; nulls for keys that others have are left out."""
    items = [
        {"question": "Largest?", "options": [{"A": "9", "B": None}, {"A": None, "B": "7"}], "answer": {"number": 9}},
        {"question": "Smallest?", "options": [{"A": "1", "B": None}], "answer": {"number": 1}},
    ]
    table = pa.table({"topic": pa.array(["sums", "sums"], pa.large_string()), "item": items})
    (tmp_path / "made/parquet-files").mkdir(parents=True)
    pq.write_table(table, tmp_path / "made/parquet-files/batch_00000.parquet")
    prompt = tmp_path / "p.yaml"
    fields = "{expected: '{item[answer][number]}', options: '{item[options]}', first: '{item[options][0][A]}!'}"
    prompt.write_text(f"user: '{{topic}}: {{item[question]}}'\nfields: {fields}\n")
    rows = [json.loads(task.row) for task in good(str(tmp_path / "made"), prompt=str(prompt))]
    assert [(made["expected"], made["options"], made["first"]) for made in rows] == [
        (9, [{"A": "9"}, {"B": "7"}], "9!"),
        (1, [{"A": "1"}], "1!"),
    ]
    assert rows[0]["responses_create_params"]["input"] == [{"role": "user", "content": "sums: Largest?"}]
    prompt.write_text("user: '{topic}'\nfields: {expected: '{item[number]}'}\n")
    assert "number: the prompt needs this field" in bad(str(tmp_path / "made"), prompt=str(prompt))[0]


def test_a_prompt_makes_the_input_and_keeps_other_parameters(tmp_path: Path) -> None:
    prompt = tmp_path / "p.yaml"
    prompt.write_text("user: 'Q: {question} {{literal}} {meta[level]}'\nsystem: Be brief.\n")
    path = write(
        tmp_path / "t.jsonl",
        {"expected": 1, "question": "why?", "meta": {"level": 2}, "responses_create_params": {"temperature": 0.5}},
        {"expected": 1, "meta": {"level": 2}},
        row(question="why?", meta={"level": 1}),
    )
    items = list(reader(path, prompt=str(prompt)))
    assert isinstance(items[0], TaskLine)
    assert json.loads(items[0].row)["responses_create_params"] == {
        "temperature": 0.5,
        "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q: why? {literal} 2"}],
    }
    messages = [item.problems[0] for item in items if isinstance(item, BadRow)]
    assert messages[0] == "question: the prompt needs this field; the row has expected, meta"
    assert messages[1].startswith("responses_create_params.input: the row has one already")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("system: x", "must be YAML with `user:`"),
        ("user: '{open'", "a literal brace is doubled"),
        ("user: 'a {} b'", "empty braces name no field"),
        ("user: x\nuserr: y", "unknown key `userr`"),
        ("user: x\nfields: [a]", "`fields` must be a mapping"),
        ("user: x\nfields: {a: '{'}", "`fields.a`"),
        ("user: [", "p.yaml"),
    ],
)
def test_a_broken_prompt_is_an_error_before_any_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        reader(write(tmp_path / "t.jsonl", row()), prompt=str(tmp_path / "p.yaml"))


def test_the_error_lists_the_first_fifty_and_counts_all() -> None:
    def read() -> None:
        with BadRows("stop") as rows:
            for number in range(1, 1201):
                rows.add(BadRow("t.jsonl", number, ["id: wrong"]))

    with pytest.raises(UserError) as caught:
        read()
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("tasks: 1,200 bad rows")
    assert lines[1] == "t.jsonl:1: id: wrong"
    assert lines[-1] == "… and 1,150 more"
    assert len(lines) == 52


def test_many_tasks_are_numbered_densely(tmp_path: Path) -> None:
    numbers = [*range(20_000), *range(0, 20_000, 7)]
    path = write(tmp_path / "t.jsonl", *(row(number, id=number) for number in numbers))
    assert [item.number for item in reader(path) if isinstance(item, TaskLine)] == numbers
