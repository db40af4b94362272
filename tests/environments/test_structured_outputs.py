"""Structured outputs: formats, strictness, bounds, and any text."""

from __future__ import annotations

import json
import time
from typing import Any, get_args

import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gym_ray.environments.patterns import SlowPattern
from gym_ray.environments.structured_outputs import StructuredOutputs
from gym_ray.environments.structured_outputs.formats import FormatError, SchemaType, read
from gym_ray.environments.structured_outputs.schema import (
    BadSchema,
    Structure,
    TooMuchWork,
    canonical,
    structure,
)
from gym_ray.types.items import assistant_message, function_call
from gym_ray.types.trajectory import Trajectory

PERSON = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}


def task(schema: Any, **fields: Any) -> Any:
    row = {"responses_create_params": {"input": "?"}, "schema_str": json.dumps(schema)} | fields
    return StructuredOutputs.Task.model_validate(row)


async def error_of(task: Any, *items: Any) -> str | None:
    reward = await StructuredOutputs().verify(task, Trajectory.of_items(list(items)), {})
    error: str | None = reward.extra["error_type"]
    assert reward.value == (1.0 if error is None else 0.0)
    return error


XML_PERSON = {"type": "object", "properties": {"person": PERSON}}
TAGS = {"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "integer"}}}}
CELLS = {
    "a": {"type": "integer"},
    "b": {"type": ["number", "null"]},
    "c": {"type": "boolean"},
    "d": {"type": ["integer", "string"]},
}


@pytest.mark.parametrize(
    ("schema_type", "text", "schema", "data"),
    [
        ("json", ' {"a": [1, null]}\n', None, {"a": [1, None]}),
        ("yaml", "a: [1, yes, x]\nb:\n  c: 2.5\n", None, {"a": [1, True, "x"], "b": {"c": 2.5}}),
        ("toml", 'a = 1\n[b]\nc = "x.y.z"\n', None, {"a": 1, "b": {"c": "x.y.z"}}),
        ("xml", "<person><name> Bo </name><age>7</age></person>", XML_PERSON, {"person": {"name": "Bo", "age": 7}}),
        ("xml", "<person><name/><age>x</age></person>", XML_PERSON, {"person": {"name": "", "age": "x"}}),
        ("xml", "<tags><tag>1</tag><tag>2</tag></tags>", TAGS, {"tags": [1, 2]}),
        ("xml", "<tags><tag>1</tag></tags>", TAGS, {"tags": [1]}),
        ("xml", "<tags/>", TAGS, {"tags": []}),
        ("xml", '<a x="1">t<b/><b>2</b></a>', None, {"a": {"@x": "1", "b": [None, "2"], "#text": "t"}}),
        ("csv", "a,b,c,d\n1,2.5,true,x\nx,,no,3\n", {"type": "array", "items": {"properties": CELLS}}, [
            {"a": 1, "b": 2.5, "c": True, "d": "x"},
            {"a": "x", "b": None, "c": "no", "d": 3},
        ]),
        ("csv", "a\n", None, []),
    ],
)  # fmt: skip
def test_read(schema_type: SchemaType, text: str, schema: Any, data: Any) -> None:
    assert read(text, schema_type, schema) == data


@pytest.mark.parametrize(
    ("schema_type", "text"),
    [
        ("json", "NaN"),
        ("json", "{'a': 1}"),
        ("json", '{"a": 1,}'),
        ("json", "[" * 2000 + "]" * 2000),
        ("yaml", "a: &x 1\nb: *x"),
        ("yaml", "[" * 20_000),
        ("yaml", "- " * 15_000),
        ("yaml", "!!python/object/apply:os.abort []"),
        ("yaml", "a: 1\n---\nb: 2"),
        ("toml", "a = 1\na = 2"),
        ("toml", "a." * 10_000 + "a = 1"),
        ("toml", "a = " + "[" * 10_000),
        ("xml", "<a><b></a>"),
        ("xml", "<!DOCTYPE a><a/>"),
        ("xml", '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>'),
        ("csv", "a\n1,2\n"),
        ("json", " " * 40_000 + "1"),
    ],
)
def test_refused(schema_type: SchemaType, text: str) -> None:
    began = time.process_time()
    with pytest.raises(FormatError):
        read(text, schema_type, None)
    assert time.process_time() - began < 0.5


def test_strict_as_far_as_it_goes() -> None:
    schema = {
        "type": "object",
        "properties": {"a": PERSON, "list": {"type": "array", "items": PERSON}},
        "$defs": {"p": PERSON},
        "anyOf": [{"properties": {"a": {}}}],
    }
    strict = Structure(schema).schema
    for part in (strict, strict["properties"]["a"], strict["properties"]["list"]["items"], strict["$defs"]["p"]):
        assert part["additionalProperties"] is False
        assert part["required"] == list(part["properties"])
    assert strict["anyOf"] == [{"properties": {"a": {}}}]
    assert "required" not in schema
    named = Structure({"properties": {"properties": {"type": "string"}}})
    assert named.problem({"properties": "x"}) is None


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer"}, 1.0, True),
        ({"enum": [1]}, 1.0, True),
        ({"uniqueItems": True}, [1, True, "1", [1], [True], {"a": 1}], [{"a": [1]}, {"a": [1.0]}]),
        ({"pattern": "^a+$"}, "aaa", "aab"),
        ({"patternProperties": {"^n": {"type": "integer"}}, "additionalProperties": False}, {"n1": 1}, {"m": 1}),
        ({"patternProperties": {"^n": {"type": "integer"}}}, {"m": "x"}, {"n": "x"}),
        ({"additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": "x"}),
        ({"format": "date", "type": "string"}, "no date", 1),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"c": {"items": {"$ref": "#"}}}},
         {"c": [{"c": []}]}, {"c": [{"c": [], "d": 1}]}),
    ],
)  # fmt: skip
def test_validation(schema: Any, good: Any, bad: Any) -> None:
    compiled = Structure(schema)
    assert compiled.problem(good) is None
    assert compiled.problem(bad) is not None


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, "objekt"),
        ([1], "is not of type"),
        ({"$ref": "#"}, "without end"),
        ({"$ref": "https://schemas.example/x.json"}, "cannot resolve"),
        ({"$ref": "#/$defs/none"}, "cannot resolve"),
        ({"pattern": "(["}, "regex"),
    ],
)
def test_bad_schemas_are_bad_rows(schema: Any, message: str) -> None:
    with pytest.raises(BadSchema, match=message):
        structure(json.dumps(schema))
    with pytest.raises(ValidationError, match=message):
        task(schema)


def test_rows_are_checked() -> None:
    with pytest.raises(ValidationError, match="not JSON"):
        StructuredOutputs.Task.model_validate({"responses_create_params": {"input": "?"}, "schema_str": "{"})
    with pytest.raises(ValidationError, match="does not fit `schema_str`"):
        task(PERSON, expected_object={"name": "Bo"})
    with pytest.raises(ValidationError, match="schema_type"):
        task(PERSON, schema_type="ini")
    assert structure(json.dumps(PERSON)) is structure(json.dumps(PERSON))


def test_work_is_bounded() -> None:
    lists = {"type": "array", "items": {"$ref": "#"}}
    heavy = Structure({"anyOf": [lists, lists | {"minItems": 1}]})
    with pytest.raises(TooMuchWork):
        heavy.problem(json.loads("[" * 40 + "1" + "]" * 40))
    with pytest.raises(SlowPattern):
        Structure({"patternProperties": {"^(a|a)+$": {}}}).problem({"a" * 60 + "b": 1})
    began = time.process_time()
    assert Structure({"uniqueItems": True}).problem([[number] for number in range(20_000)]) is None
    assert time.process_time() - began < 1.0


async def test_tool_calls() -> None:
    call = task(PERSON, response_mode="tool_call", tool_name="save", tool_payload_key="person")
    right = json.dumps({"person": {"name": "Bo", "age": 7}})
    assert await error_of(call, function_call("save", right, "1")) is None
    assert await error_of(call, function_call("keep", right, "1")) == "wrong_tool_name"
    assert await error_of(call, function_call("save", "{}", "1")) == "missing_tool_payload_key"
    assert await error_of(call, function_call("save", '{"person": NaN}', "1")) == "tool_arguments_parse_error"
    assert await error_of(call, assistant_message(right)) == "missing_tool_call"
    anything = task(PERSON, response_mode="tool_call")
    assert await error_of(anything, function_call("f", '{"name": "Bo", "age": 7}', "1")) is None


async def test_messages_are_joined() -> None:
    first, second = '{"name": "Bo", ', '"age": 7}'
    assert await error_of(task(PERSON), assistant_message(first), assistant_message(second)) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=50)
@given(JSON)
def test_what_json_and_yaml_write_is_read(data: Any) -> None:
    try:
        text = orjson.dumps(data).decode()
    except TypeError:  # lone surrogates
        return
    assert canonical(read(text, "json", None)) == canonical(data)
    assert canonical(read(yaml.safe_dump(data, allow_unicode=False), "yaml", None)) == canonical(data)


@settings(deadline=None)
@given(JSON, JSON)
async def test_expected_object_is_json_equality(left: Any, right: Any) -> None:
    try:
        text = orjson.dumps(right).decode()
    except TypeError:
        return
    wanted = "content_error" if left is not None and canonical(left) != canonical(right) else None
    assert await error_of(task(True, expected_object=left), assistant_message(text)) == (
        wanted if text.strip() else "empty_response"
    )


SPICE = ["<a>", "</a>", "{", "}", "[", "]", "a: ", "- ", "\n", "=", ",", "&a", "*a", '"', "'"]
NOISE = st.lists(st.one_of(st.text(max_size=8), st.sampled_from(SPICE)), max_size=20)


@settings(deadline=None)
@given(NOISE, st.sampled_from(get_args(SchemaType)))
async def test_any_text_is_graded(parts: list[str], schema_type: SchemaType) -> None:
    for schema in (PERSON, True, {"type": "array", "items": PERSON}):
        await error_of(task(schema, schema_type=schema_type), assistant_message("".join(parts)))
