"""Questions about small random tables: filters and counts, groups and orders, joins and comparisons with an average.

Each row has two more databases of the same schema that the model does not see, so a query that fits the shown data by
chance, or names its values, fails there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.items import assistant_message

SYSTEM = "Answer with one SQLite query in a ```sql block."
SCHEMA = (
    "CREATE TABLE shops (id INTEGER PRIMARY KEY, city TEXT, area INTEGER);\n"
    "CREATE TABLE sales (id INTEGER PRIMARY KEY, shop_id INTEGER, item TEXT, pieces INTEGER, price INTEGER);"
)
CITIES = ("Lyon", "Porto", "Graz", "Turku", "Bergen", "Malmo")
ITEMS = ("tea", "rice", "soap", "salt", "milk", "oil", "jam")
Problem = tuple[str, str]
"""Question and reference query."""


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in NeMo Gym's ``text_to_sql`` layout. See :func:`~gym_ray.environments.generate.distinct_rows`."""
    families = LEVELS[Difficulty(difficulty)]
    return distinct_rows("text_to_sql", count, seed, difficulty, lambda rng: _row(rng, *rng.choice(families)(rng)))


def solve(row: Row) -> list[Turn]:
    """One turn: the reference query."""
    return [[assistant_message(f"```sql\n{row['sql']}\n```")]]


def _row(rng: random.Random, question: str, sql: str) -> Row:
    return {
        "responses_create_params": prompt_params(f"{SCHEMA}\n\n{question}", SYSTEM),
        "sql": sql,
        "sql_dialect": "sqlite",
        "sql_prompt": question,
        "sql_context": _database(rng),
        "sql_context_variants": [_database(rng) for _ in range(2)],
    }


def _database(rng: random.Random) -> str:
    shops = rng.randint(4, 7)
    places = ", ".join(f"({n}, '{rng.choice(CITIES)}', {rng.randint(20, 300)})" for n in range(1, shops + 1))
    sales = ", ".join(
        f"({n}, {rng.randint(1, shops)}, '{rng.choice(ITEMS)}', {rng.randint(1, 60)}, {rng.randint(1, 30)})"
        for n in range(1, rng.randint(25, 40))
    )
    return f"{SCHEMA}\nINSERT INTO shops VALUES {places};\nINSERT INTO sales VALUES {sales};"


def _column(rng: random.Random) -> tuple[str, int]:
    return ("pieces", rng.randint(2, 58)) if rng.random() < 0.5 else ("price", rng.randint(2, 28))


def filtered(rng: random.Random) -> Problem:
    column, least = _column(rng)
    item = rng.choice(ITEMS)
    question = f"List the id of each sale of {item} with {column} of at least {least}."
    return question, f"SELECT id FROM sales WHERE item = '{item}' AND {column} >= {least}"


def counted(rng: random.Random) -> Problem:
    column, most = _column(rng)
    item = rng.choice(ITEMS)
    question = f"How many sales of {item} have {column} below {most}?"
    return question, f"SELECT COUNT(*) FROM sales WHERE item = '{item}' AND {column} < {most}"


def summed(rng: random.Random) -> Problem:
    column, least = _column(rng)
    item, other = rng.choice(ITEMS), "price" if column == "pieces" else "pieces"
    question = f"What is the largest {other} among the sales of {item} with {column} above {least}?"
    return question, f"SELECT MAX({other}) FROM sales WHERE item = '{item}' AND {column} > {least}"


def grouped(rng: random.Random) -> Problem:
    column, least = _column(rng)
    what, word = rng.choice(
        (("SUM(pieces)", "total pieces"), ("COUNT(*)", "number of sales"), ("MAX(price)", "top price"))
    )
    fewest = rng.randint(1, 5)
    question = (
        f"For each item with at least {fewest} sales with {column} of at least {least}, give the item and the {word},"
        " counting only such sales."
    )
    group = f"GROUP BY item HAVING COUNT(*) >= {fewest}"
    return question, f"SELECT item, {what} FROM sales WHERE {column} >= {least} {group}"


def ordered(rng: random.Random) -> Problem:
    column, least = _column(rng)
    limit = rng.randint(2, 6)
    question = (
        f"Of the sales with {column} of at least {least}, give id and pieces times price of the {limit} with the"
        " largest such product, largest first, equal ones by id."
    )
    where = f"WHERE {column} >= {least}"
    return question, f"SELECT id, pieces * price FROM sales {where} ORDER BY pieces * price DESC, id LIMIT {limit}"


def joined(rng: random.Random) -> Problem:
    city, area = rng.choice(CITIES), rng.randint(20, 290)
    item = rng.choice(ITEMS)
    question = f"How many pieces of {item} were sold in shops in {city} or with an area above {area}? Give 0 for none."
    joined_tables = "sales JOIN shops ON shops.id = sales.shop_id"
    where = f"item = '{item}' AND (city = '{city}' OR area > {area})"
    return question, f"SELECT COALESCE(SUM(pieces), 0) FROM {joined_tables} WHERE {where}"


def above_average(rng: random.Random) -> Problem:
    column, least = _column(rng)
    area = rng.randint(20, 250)
    question = (
        f"List city and id of each shop with an area above {area} whose number of sales with {column} of at least"
        f" {least} is above the average of that number over all shops."
    )
    count = f"(SELECT COUNT(*) FROM sales WHERE shop_id = shops.id AND {column} >= {least})"
    counts = f"SELECT {count} AS n FROM shops"
    return question, f"SELECT city, id FROM shops WHERE area > {area} AND {count} > (SELECT AVG(n) FROM ({counts}))"


LEVELS: dict[Difficulty, tuple[Callable[[random.Random], Problem], ...]] = {
    Difficulty.EASY: (filtered, counted, summed),
    Difficulty.MEDIUM: (grouped, ordered),
    Difficulty.HARD: (joined, above_average),
}
"""Question families of each level."""
