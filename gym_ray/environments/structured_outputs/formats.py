"""Text in one of five formats, read into JSON-like data.

Invariants: reading never runs or fetches anything, never expands entities or aliases, and takes time roughly linear
in the text. Every failure is a :class:`FormatError`. XML and CSV know only strings, so their leaves are turned
into what the schema asks for where that is possible; what is not possible stays a string for the validator to
refuse. The rules of that conversion, and the shape of XML data, are NeMo Gym's (the latter ``xmltodict``'s).
"""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Callable
from typing import Any, Literal
from xml.parsers import expat

import orjson
import yaml

SchemaType = Literal["json", "yaml", "xml", "toml", "csv"]
Schema = dict[str, Any]

MAX_TEXT_CHARS = 32_768
"""A longer text is refused unread: reading and validating has to stay within tens of milliseconds."""

MAX_YAML_DEPTH = 100
"""Collections inside each other; the other formats are bounded by their parsers."""
MAX_TOML_DOTS = 200

_YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class FormatError(ValueError):
    """The text is not of the format."""


def read(text: str, schema_type: SchemaType, schema: Any) -> Any:
    """The data in ``text``. ``schema`` gives the types of XML and CSV leaves.

    Raises:
        FormatError: the text is not of that format, too long or nested too deeply.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise FormatError(f"longer than {MAX_TEXT_CHARS} characters")
    try:
        return _READERS[schema_type](text, schema)
    except FormatError:
        raise
    except RecursionError:
        raise FormatError("nested too deeply") from None
    except (ValueError, yaml.YAMLError, csv.Error, expat.ExpatError, TypeError, OverflowError) as error:
        raise FormatError(f"{type(error).__name__}: {str(error)[:200]}") from None


def read_json(text: str, schema: Any = None) -> Any:
    """JSON by the standard: no ``NaN``, no comments, nothing around it but white space."""
    return orjson.loads(text)


def _read_yaml(text: str, schema: Any) -> Any:
    # Both are looked for before loading: an alias makes one node appear many times, so that a few lines stand for
    # gigabytes, and the loader recurses in C, where too deep a document is a segmentation fault.
    depth = 0
    for event in yaml.parse(text, Loader=_YamlLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_YAML_DEPTH:
            raise FormatError("nested too deeply")
        if isinstance(event, yaml.AliasEvent):
            raise FormatError("aliases are not allowed")
    return yaml.load(text, Loader=_YamlLoader)


def _read_toml(text: str, schema: Any) -> Any:
    # A dotted key takes the parser time by the square of its parts.
    if any(line.count(".") > MAX_TOML_DOTS for line in text.splitlines()):
        raise FormatError(f"a line with more than {MAX_TOML_DOTS} dots")
    return tomllib.loads(text)


def _read_csv(text: str, schema: Any) -> list[dict[str, Any]]:
    fields = _at(schema, "items") if "items" in _dict(schema) else schema
    types = _dict(_at(fields, "properties"))
    rows = []
    for row in csv.DictReader(io.StringIO(text)):
        if None in row:
            raise FormatError("a row has more cells than the header")
        rows.append({name: _cell(value, _at(types.get(name), "type")) for name, value in row.items()})
    return rows


def _cell(value: str | None, wanted: Any) -> Any:
    if not isinstance(wanted, list):
        return _leaf(value, wanted) if value else value
    if not value and "null" in wanted:
        return None
    for kind in wanted:
        converted = _cell(value, kind)
        if kind == "string" or not isinstance(converted, str):
            return converted
    return value


def _leaf(text: str, wanted: Any) -> Any:
    """``text`` as an ``integer``, ``number`` or ``boolean`` when it reads as one, else as it is."""
    try:
        if wanted == "integer":
            return int(text)
        if wanted == "number":
            return float(text)
    except ValueError:
        return text
    return _BOOLEANS.get(text.lower(), text) if wanted == "boolean" else text


def _read_xml(text: str, schema: Any) -> Any:
    return _typed(_XmlReader().read(text), schema)


def _typed(data: Any, schema: Any) -> Any:
    wanted = _at(schema, "type")
    if wanted == "object" and isinstance(data, dict):
        properties = _dict(_at(schema, "properties"))
        return {name: _typed(value, properties.get(name)) for name, value in data.items()}
    if wanted == "array":
        # <tags><tag>a</tag><tag>b</tag></tags>: the inner element is only there to repeat.
        inner = next(iter(data.values())) if isinstance(data, dict) and len(data) == 1 else data
        members = inner if isinstance(inner, list) else [] if inner is None else [inner]
        return [_typed(member, _at(schema, "items")) for member in members]
    if data is None and wanted == "string":
        return ""
    return _leaf(data, wanted) if isinstance(data, str) else data


class _XmlReader:
    """Elements as objects: attributes as ``@name``, text beside them as ``#text``, repeated elements as lists."""

    def __init__(self) -> None:
        self._open: list[tuple[dict[str, Any], list[str]]] = [({}, [])]
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._refuse

    def read(self, text: str) -> dict[str, Any]:
        self._parser.Parse(text.strip().encode(), True)
        return self._open[0][0]

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._open.append(({f"@{key}": value for key, value in attributes.items()}, []))

    def _text(self, text: str) -> None:
        self._open[-1][1].append(text)

    def _end(self, name: str) -> None:
        children, texts = self._open.pop()
        text = "".join(texts).strip()
        if children and text:
            children["#text"] = text
        value = children or text or None
        parent = self._open[-1][0]
        if name not in parent:
            parent[name] = value
        elif isinstance(parent[name], list):
            parent[name].append(value)
        else:
            parent[name] = [parent[name], value]

    def _refuse(self, *declaration: object) -> None:
        raise FormatError("a document type declaration is not allowed")


def _at(schema: Any, key: str) -> Any:
    return schema.get(key) if isinstance(schema, dict) else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_READERS: dict[SchemaType, Callable[[str, Any], Any]] = {
    "json": read_json,
    "yaml": _read_yaml,
    "xml": _read_xml,
    "toml": _read_toml,
    "csv": _read_csv,
}
