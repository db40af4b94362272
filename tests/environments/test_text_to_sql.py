"""text_to_sql: extraction, comparison, what a query may not do; the golden answers; BIRD's rows on files."""

from __future__ import annotations

import json
import sqlite3
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gym_ray.environments.generate import Difficulty
from gym_ray.environments.text_to_sql import TextToSql
from gym_ray.environments.text_to_sql.compare import is_ordered, is_query, same
from gym_ray.environments.text_to_sql.database import Outcome, SqlError, SqlTimeout, image_of_script, run
from gym_ray.environments.text_to_sql.extract import find_sql
from gym_ray.environments.text_to_sql.generate import generate, solve
from gym_ray.types.errors import MaskRollout, UserError
from gym_ray.types.items import assistant_message
from tests.environments.support import golden, grade

CASES = golden("text_to_sql")
IMAGE = image_of_script("CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, NULL);")
PARAMS = {"input": "?"}


@pytest.mark.parametrize(("row", "record"), CASES, ids=[record["note"] for _, record in CASES])
async def test_golden(row: dict[str, Any], record: dict[str, Any]) -> None:
    if record["expected_mask"]:
        with pytest.raises(MaskRollout) as masked:
            await grade(TextToSql(), row, record["items"])
        assert masked.value.kind == record["expected_mask"]
        return
    reward = await grade(TextToSql(), row, record["items"])
    assert reward.value == record["expected_reward"], reward.extra
    json.dumps(reward.extra)


@pytest.mark.parametrize(
    ("text", "fenced", "free"),
    [
        ("```sql\nSELECT 1\n```", "SELECT 1", "SELECT 1"),
        ("```SQL\nselect 1;```", "select 1;", "select 1;"),
        ("```sql\nSELECT 1\n```\n```sql\n;\n```", "SELECT 1", "SELECT 1"),
        ("```sqlite\nSELECT 1\n```", None, "SELECT 1"),
        ("```\nfoo\n```\n```\nwith a as (select 1) select * from a\n```", None, "with a as (select 1) select * from a"),
        ("Use SELECT ';' FROM t; and be happy", None, "SELECT ';' FROM t;"),
        ("SELECT 1", None, "SELECT 1"),
        ("```sql\n**Query**\nSELECT 1\n```", "SELECT 1", "SELECT 1"),
        ("no", None, None),
    ],
)
def test_find_sql(text: str, fenced: str | None, free: str | None) -> None:
    assert (find_sql(text, fenced_only=True), find_sql(text, fenced_only=False)) == (fenced, free)


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT a FROM t ORDER  BY a", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", False),
        ("SELECT 'order by' FROM t", False),
        ("SELECT a FROM t -- order by a", False),
        ("SELECT row_number() OVER (ORDER BY a) FROM t", False),
    ],
)
def test_is_ordered(sql: str, ordered: bool) -> None:
    assert is_ordered(sql) is ordered


def test_is_query() -> None:
    assert is_query("/* x */ SELECT 1")
    assert is_query("WITH a AS (SELECT 'insert') SELECT * FROM a")
    assert not is_query("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a")
    assert not is_query("DELETE FROM t")


def test_comparisons() -> None:
    once, twice = Outcome([(1, "x"), (2, None)], {}), Outcome([(2, None), (1, "x"), (1, "x")], {})
    other_order, close = Outcome([(2, None), (1, "x")], {}), Outcome([(1.0000000001, "x"), (2, None)], {})
    assert same(once, twice, "set")
    assert not same(once, twice, "rows")
    assert same(once, other_order, "rows")
    assert not same(once, other_order, "ordered")
    assert same(once, close, "rows")
    assert not same(once, close, "set")
    assert not same(Outcome([], {"t": []}), Outcome([], {"t": [(1,)]}), "rows")


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (3, 'y')",
        "CREATE TABLE u (a)",
        "CREATE TEMP TABLE u AS SELECT 1",
        "DROP TABLE t",
        "PRAGMA database_list",
        "ATTACH '/tmp/attack.db' AS o",
        "VACUUM INTO '/tmp/attack.db'",
        "SELECT load_extension('x')",
        "SELECT * FROM pragma_database_list",
        "SELECT zeroblob(100000000)",
        "SELECT a LIKE '" + "%a" * 200 + "' FROM t",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_what_a_query_may_not_do(sql: str) -> None:
    if sql:
        with pytest.raises(SqlError):
            run(IMAGE, sql, 1.0)
    assert run(IMAGE, "SELECT * FROM t", 1.0).rows == [(1, "x"), (2, None)]
    assert not list(Path("/tmp").glob("attack.db*"))


@pytest.mark.parametrize(
    "sql", ["ATTACH '/tmp/attack.db' AS o", "VACUUM INTO '/tmp/attack.db'", "PRAGMA user_version = 3"]
)
def test_what_writing_may_not_do(sql: str) -> None:
    with pytest.raises(SqlError):
        run(IMAGE, sql, 1.0, writing=True)


def test_endless_queries_end() -> None:
    with pytest.raises(SqlTimeout):
        run(IMAGE, "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n", 0.2)
    with pytest.raises(SqlError):
        run(
            IMAGE,
            "WITH RECURSIVE n(x) AS (SELECT hex(randomblob(1000000)) UNION ALL SELECT x || '' FROM n) SELECT * FROM n",
            30,
        )


async def test_birds_rows_read_files_and_leave_them_alone(tmp_path: Path) -> None:
    file = tmp_path / "shop" / "shop.sqlite"
    file.parent.mkdir()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1), (1), (2);")
    connection.close()
    before = file.read_bytes()
    row = {"responses_create_params": PARAMS, "question": "?", "gt_sql": "SELECT a FROM t", "db_id": "shop"}
    server = TextToSql(database_dir=str(tmp_path))
    for answer, value in (
        ("```sql\nSELECT DISTINCT a FROM t ORDER BY a DESC\n```", 1.0),
        ("```sql\nSELECT 1\n```", 0.0),
        ("```sql\nDELETE FROM t\n```", 0.0),
        ("SELECT a FROM t", 0.0),
    ):
        assert (await grade(server, row, [assistant_message(answer)])).value == value
    assert file.read_bytes() == before
    for name in ("other", "../shop", ".."):
        with pytest.raises(MaskRollout, match="no database"):
            await grade(server, row | {"db_id": name}, [assistant_message("```sql\nSELECT 1\n```")])
    with pytest.raises(UserError, match="not a folder"):
        TextToSql(database_dir=str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either `sql` or `gt_sql`"),
        ({"sql": "SELECT 1", "sql_dialect": "mysql", "sql_context": "x"}, "only sqlite"),
        ({"sql": "SELECT 1"}, "needs a `sql_context`"),
        ({"gt_sql": "SELECT 1"}, "needs a `db_id`"),
    ],
)
def test_bad_rows(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TextToSql.Task.model_validate({"responses_create_params": PARAMS} | fields)


@pytest.mark.parametrize("level", list(Difficulty))
async def test_generated_rows(level: Difficulty) -> None:
    rows = list(islice(generate(10_000, 3, level), 1_000))
    assert len({row["sql_prompt"] for row in rows}) == 1_000
    assert rows[:7] == list(generate(7, 3, level.value))
    server, hits = TextToSql(), 0
    for row, other in pairwise(rows[:100]):
        assert (await grade(server, row, solve(row)[0])).value == 1.0
        hits += (await grade(server, row, solve(other)[0])).value == 1.0
    assert hits < 15, "other tasks' queries are right too often"
