"""Text to SQL: reward 1.0 when the query returns what the reference query returns, on every database of the task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from gym_ray.environments.text_to_sql.compare import Comparison, is_ordered, is_query, same
from gym_ray.environments.text_to_sql.database import SqlError, SqlTimeout, image_of_script, run
from gym_ray.environments.text_to_sql.extract import find_sql
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.errors import MaskRollout, UserError
from gym_ray.types.items import output_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

_SQLITE = ("sqlite", "sqlite3")


class TextToSql(ResourcesServer):
    """Questions about a SQLite database, answered by a query and graded by what it returns.

    Options:
        database_dir: folder with `DB_ID/DB_ID.sqlite` or `DB_ID.sqlite`, for rows with a `db_id`.
        sql_execution_timeout_s: seconds per query.
    """

    cpu_bound = True
    verify_timeout_s = 120.0

    class Task(TaskRow):
        """A question and its reference query, in the layout of NeMo Gym's `text_to_sql` or `bird_sql`."""

        sql: str | None = None
        """The reference statement. A query is compared by its rows, any other by the tables it leaves."""
        gt_sql: str | None = None
        """The same in BIRD's layout: compared as a set of rows; only a fenced answer counts."""
        sql_dialect: str = "sqlite"
        """Only `sqlite` can be run."""
        sql_context: str = ""
        """CREATE and INSERT statements that make the database."""
        sql_context_variants: list[str] = Field(default_factory=list)
        """Further databases with other data, which the model need not see: the query must be right on all."""
        db_id: str | None = None
        """Name of a database file in `database_dir`, in place of `sql_context`."""
        comparison: Comparison | None = None
        """set, rows or ordered. None: `set` with `gt_sql`; else `ordered` when the reference is, else `rows`."""

        @model_validator(mode="after")
        def _check(self) -> TextToSql.Task:
            if (self.sql is None) == (self.gt_sql is None):
                raise ValueError("give either `sql` or `gt_sql`")
            if self.sql_dialect.strip().lower() not in _SQLITE:
                raise ValueError(f"`sql_dialect` {self.sql_dialect!r} cannot be run here, only sqlite")
            if self.gt_sql is not None and self.db_id is None:
                raise ValueError("`gt_sql` needs a `db_id`")
            if self.sql is not None and not (self.sql_context.strip() or self.db_id):
                raise ValueError("`sql` needs a `sql_context` or a `db_id`")
            return self

        @property
        def reference(self) -> str:
            """The reference statement."""
            return self.sql if self.sql is not None else str(self.gt_sql)

        def compared_as(self) -> Comparison:
            """The comparison in force."""
            if self.comparison is not None:
                return self.comparison
            if self.sql is None:
                return "set"
            return "ordered" if is_query(self.sql) and is_ordered(self.sql) else "rows"

    def __init__(self, database_dir: str | None = None, sql_execution_timeout_s: float = 10.0) -> None:
        super().__init__()
        self._folder = Path(database_dir).expanduser() if database_dir else None
        if self._folder is not None and not self._folder.is_dir():
            raise UserError(f"text_to_sql: `database_dir` {database_dir} is not a folder")
        self._timeout_s = sql_execution_timeout_s

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """1.0 for equal results. ``extra``: ``extracted_sql``, ``execution_match``, ``failure_reason``."""
        sql = find_sql(output_text(trajectory.items), fenced_only=task.gt_sql is not None)
        if sql is None:
            reason = "no_sql_extracted"
        else:
            reason = next(
                (why for database in self._databases(task) if (why := self._differs(task, database, sql))), "none"
            )
        extra = {"extracted_sql": sql, "execution_match": reason == "none", "failure_reason": reason}
        return Reward(float(reason == "none"), extra=extra)

    def _differs(self, task: Any, database: bytes | Path, sql: str) -> str | None:
        """Why the answer is wrong on one database, or None."""
        writing = not is_query(task.reference)
        try:
            expected = run(database, task.reference, self._timeout_s, writing)
        except (SqlError, SqlTimeout) as error:
            raise MaskRollout("text_to_sql:reference_error", f"the reference statement failed: {error}") from None
        try:
            found = run(database, sql, self._timeout_s, writing)
        except SqlError:
            return "execution_error"
        except SqlTimeout:
            return "execution_timeout"
        return None if same(expected, found, task.compared_as()) else "result_mismatch"

    def _databases(self, task: Any) -> Sequence[bytes | Path]:
        try:
            if task.db_id is not None and not task.sql_context.strip():
                return [self._file(task.db_id)]
            return [image_of_script(script) for script in (task.sql_context, *task.sql_context_variants)]
        except SqlError as error:
            raise MaskRollout("text_to_sql:no_database", str(error)) from None

    def _file(self, name: str) -> Path:
        if self._folder is None or Path(name).name != name:
            raise SqlError(f"no database `{name}`: set the option `database_dir`")
        nested = self._folder / name / f"{name}.sqlite"
        found = nested if nested.is_file() else self._folder / f"{name}.sqlite"
        if not found.is_file():
            raise SqlError(f"no database `{name}` in {self._folder}")
        return found
