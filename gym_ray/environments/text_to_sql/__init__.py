"""Questions about a SQLite database, answered by a query and graded by what it returns."""

from gym_ray.environments.text_to_sql.server import TextToSql as TextToSql
