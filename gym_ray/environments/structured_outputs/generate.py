"""Structured-output tasks: facts in the prompt, to be put into a schema. The content is checked too."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable, Iterator
from typing import Any
from xml.sax.saxutils import escape

import orjson
import yaml

from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.items import assistant_message, function_call

NAMES = ["Ana", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "June", "Kim", "Leo", "Mia", "Ned", "Omar"]
CITIES = ["Oslo", "Lima", "Cairo", "Delhi", "Quito", "Turin", "Porto", "Perth", "Kyoto", "Accra", "Bergen", "Sofia"]
TITLES = ["Red Tide", "Long Road", "Blue Hour", "Glass Sea", "High Noon", "Old Maps", "Night Ferry", "Salt Wind"]
ITEMS = ["lamp", "chair", "kettle", "rug", "desk", "shelf", "mirror", "clock", "basket", "stool"]
COLORS = ["red", "green", "blue", "black", "white"]

Draw = Callable[[random.Random], Any]
Field = tuple[dict[str, Any], Draw]
"""Schema of one value, and a draw of it."""


def _text(words: list[str]) -> Field:
    return {"type": "string"}, lambda rng: rng.choice(words)


def _whole(low: int, high: int) -> Field:
    return {"type": "integer"}, lambda rng: rng.randint(low, high)


_FLAG: Field = {"type": "boolean"}, lambda rng: rng.random() < 0.5
_PRICE: Field = {"type": "number"}, lambda rng: rng.randint(1, 200) + rng.choice((0.25, 0.5, 0.75))
_COLOR: Field = {"enum": COLORS, "type": "string"}, lambda rng: rng.choice(COLORS)

RECORDS: dict[str, dict[str, Field]] = {
    "person": {"name": _text(NAMES), "age": _whole(18, 80), "city": _text(CITIES), "member": _FLAG},
    "book": {"title": _text(TITLES), "author": _text(NAMES), "pages": _whole(80, 900), "lent": _FLAG},
    "order": {"item": _text(ITEMS), "count": _whole(1, 40), "price": _PRICE, "paid": _FLAG},
    "room": {"city": _text(CITIES), "floor": _whole(1, 30), "seats": _whole(2, 60), "free": _FLAG},
    "car": {"owner": _text(NAMES), "color": _COLOR, "year": _whole(1990, 2026), "electric": _FLAG},
}
"""Kinds of things and what is known of each."""


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in NeMo Gym's ``structured_outputs`` layout, with ``expected_object``.

    easy: one flat object in JSON. medium: two objects, JSON or YAML. hard: a list, in any format or a tool call.
    See :func:`~gym_ray.environments.generate.distinct_rows`.
    """
    return distinct_rows("structured_outputs", count, seed, difficulty, LEVELS[Difficulty(difficulty)])


def solve(row: Row) -> list[Turn]:
    """One turn: ``expected_object`` in the row's format, or as the call's arguments."""
    answer = row["expected_object"]
    if row["response_mode"] == "tool_call":
        return [[function_call(row["tool_name"], orjson.dumps(answer).decode(), "call_0")]]
    return [[assistant_message(WRITERS[row["schema_type"]](answer))]]


def flat(rng: random.Random) -> Row:
    """Two to four facts about one thing."""
    kind = rng.choice(list(RECORDS))
    names = rng.sample(list(RECORDS[kind]), rng.randint(2, 4))
    schema, record = _record(rng, kind, names)
    return _row(f"{kind.capitalize()}: {_facts(record)}.", schema, record)


def pair(rng: random.Random) -> Row:
    """Two things in one object, their fields in an order of their own."""
    parts = {kind: _record(rng, kind, rng.sample(list(RECORDS[kind]), 3)) for kind in rng.sample(list(RECORDS), 2)}
    story = " ".join(f"{kind.capitalize()}: {_facts(record)}." for kind, (_, record) in parts.items())
    properties = {kind: _shuffled(rng, schema) for kind, (schema, _) in parts.items()}
    schema = {"type": "object", "properties": properties}
    expected = {kind: record for kind, (_, record) in parts.items()}
    return _row(story, schema, expected, rng.choice(("json", "yaml")))


def listing(rng: random.Random) -> Row:
    """Two to five things of one kind, in any format."""
    kind = rng.choice(list(RECORDS))
    names = rng.sample(list(RECORDS[kind]), rng.randint(2, 4))
    drawn = [_record(rng, kind, names) for _ in range(rng.randint(2, 5))]
    records = [record for _, record in drawn]
    story = "\n".join(f"{kind.capitalize()} {number}: {_facts(record)}." for number, record in enumerate(records, 1))
    array = {"type": "array", "items": drawn[0][0]}
    shape = rng.choice((*WRITERS, "tool"))
    if shape == "csv":
        return _row(story, array, records, "csv")
    schema: dict[str, Any] = {"type": "object", "properties": {kind: array}}
    expected: dict[str, Any] = {kind: records}
    if shape == "tool":
        return _tool_row(story, schema, expected, f"save_{kind}s")
    if shape == "xml":
        schema, expected = {"type": "object", "properties": {"list": schema}}, {"list": expected}
    return _row(story, schema, expected, shape)


LEVELS: dict[Difficulty, Callable[[random.Random], Row]] = {
    Difficulty.EASY: flat,
    Difficulty.MEDIUM: pair,
    Difficulty.HARD: listing,
}


def _record(rng: random.Random, kind: str, names: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A flat object's schema and values."""
    fields = {name: RECORDS[kind][name] for name in names}
    schema = {"type": "object", "properties": {name: schema for name, (schema, _) in fields.items()}}
    return schema, {name: draw(rng) for name, (_, draw) in fields.items()}


def _facts(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in record.items())


def _plain(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _shuffled(rng: random.Random, schema: dict[str, Any]) -> dict[str, Any]:
    names = list(schema["properties"])
    rng.shuffle(names)
    return schema | {"properties": {name: schema["properties"][name] for name in names}}


def _row(story: str, schema: dict[str, Any], expected: Any, schema_type: str = "json") -> Row:
    schema_str = orjson.dumps(schema).decode()
    prompt = f"{story}\nAnswer in {schema_type.upper()} only, by this schema:\n{schema_str}"
    return {
        "responses_create_params": prompt_params(prompt),
        "schema_str": schema_str,
        "schema_type": schema_type,
        "response_mode": "text",
        "expected_object": expected,
    }


def _tool_row(story: str, schema: dict[str, Any], expected: Any, name: str) -> Row:
    row = _row(story, schema, expected)
    definition = {"type": "function", "name": name, "description": "Save the facts.", "parameters": schema}
    params = prompt_params(f"{story}\nSave this with the tool.") | {"tools": [definition | {"strict": False}]}
    return row | {"responses_create_params": params, "response_mode": "tool_call", "tool_name": name}


def _json_text(answer: Any) -> str:
    return orjson.dumps(answer).decode()


def _yaml_text(answer: Any) -> str:
    text: str = yaml.safe_dump(answer, sort_keys=False)
    return text


def _scalar(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _xml_text(answer: Any) -> str:
    """Elements of an object; a list repeats its element."""
    parts = []
    for name, value in answer.items():
        for member in value if isinstance(value, list) else [value]:
            inner = _xml_text(member) if isinstance(member, dict) else escape(_scalar(member))
            parts.append(f"<{name}>{inner}</{name}>")
    return "".join(parts)


def _toml_text(answer: Any) -> str:
    """Lists of flat objects as arrays of tables."""
    tables = [(kind, record) for kind, records in answer.items() for record in records]
    return "\n".join(
        f"[[{kind}]]\n" + "\n".join(f"{name} = {_json_text(value)}" for name, value in record.items()) + "\n"
        for kind, record in tables
    )


def _csv_text(answer: Any) -> str:
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, list(answer[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _scalar(value) for name, value in record.items()} for record in answer)
    return sheet.getvalue()


WRITERS: dict[str, Callable[[Any], str]] = {
    "json": _json_text,
    "yaml": _yaml_text,
    "xml": _xml_text,
    "toml": _toml_text,
    "csv": _csv_text,
}
"""From data to text, for the layouts that the levels use."""
