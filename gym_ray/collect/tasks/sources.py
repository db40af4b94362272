"""Task files: what an address means, and how its rows are read.

An address is a file, a directory or a glob (``*``, ``?``, ``[...]``, ``**``), local or on any filesystem
that pyarrow or fsspec knows (``s3://bucket/tasks/*.jsonl.gz``). Formats go by suffix: ``.jsonl``,
``.ndjson`` and ``.json`` (one object per line) with ``.gz``, ``.zst`` or ``.bz2``, and ``.parquet``.

Invariant: reading streams. Memory is bounded by one chunk or one longest allowed row, never by the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import expanduser
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import orjson
from pyarrow import ArrowException
from pyarrow import fs as pafs
from pyarrow import parquet as pq

from gym_ray.types.errors import UserError

LINE_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh": ".bz2", b"PAR1": ".parquet"}
"""How compressed files begin, and Parquet ones."""
_CHUNK_BYTES = 1 << 20
_BATCH_ROWS = 256
"""Parquet rows decoded at once: rows may be large, so few."""


class RawRow(NamedTuple):
    """One row of a file. ``number``: its line (or Parquet row), from 1. ``raw`` is None when ``problem`` says why."""

    number: int
    raw: bytes | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One task file. ``size`` in bytes and ``modified`` (Unix nanoseconds, 0 when unknown) tell if it changed."""

    address: str
    filesystem: Any
    path: str
    size: int
    modified: int

    def rows(self, max_bytes: int) -> Iterator[RawRow]:
        """All rows, blank lines left out. A row above ``max_bytes`` comes as a problem.

        Raises:
            UserError: the file cannot be read (gone, no permission, corrupt compression).
        """
        try:
            yield from self._parquet_rows(max_bytes) if self.path.endswith(".parquet") else self._lines(max_bytes)
        except (OSError, ArrowException) as error:
            raise UserError(f"{self.address}: cannot be read: {' '.join(str(error).split())[:300]}") from error

    def _lines(self, max_bytes: int) -> Iterator[RawRow]:
        codec = CODECS.get(PurePosixPath(self.path).suffix)
        with self.filesystem.open_input_stream(self.path, compression=codec) as stream:
            number = 0
            for line in _split(stream, max_bytes):
                number += 1
                if line is None:
                    yield RawRow(number, None, f"the line is longer than tasks.max_row_mb ({max_bytes / 1e6:g} MB)")
                    continue
                line = line.strip()
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                    self._check_first(line)
                if line:
                    yield RawRow(number, line)

    def _check_first(self, line: bytes) -> None:
        """What makes every line a bad one is told once. Raises UserError."""
        if line in (b"[", b"{"):
            wanted = ".[]" if line == b"[" else "."
            mend = f"jq -c '{wanted}' {self.address}"
            raise UserError(f"{self.address}: JSON over several lines; tasks are one object per line: {mend}")
        suffix = next((suffix for magic, suffix in _MAGIC.items() if line.startswith(magic)), None)
        if suffix is not None:
            raise UserError(f"{self.address}: compressed, and its name does not say so: it must end in {suffix}")

    def _parquet_rows(self, max_bytes: int) -> Iterator[RawRow]:
        number = 0
        with self.filesystem.open_input_file(self.path) as file:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield _parquet_row(number, row, max_bytes)


def find_sources(address: str) -> list[Source]:
    """The files that ``address`` names, in name order.

    Raises:
        UserError: nothing is there, or a file's suffix says no known format.
    """
    filesystem, path = open_filesystem(address)
    try:
        infos = _list(filesystem, path)
    except (OSError, ArrowException) as error:
        raise UserError(f"tasks: {address}: {' '.join(str(error).split())[:300]}") from error
    if not infos:
        raise UserError(f"tasks: {address}: no such file or directory, or no task file in it")
    scheme = address[: address.index("://") + 3] if "://" in address else ""
    return [
        Source(scheme + info.path if scheme != "file://" else info.path, filesystem, info.path, *_version(info))
        for info in sorted(infos, key=lambda info: info.path)
    ]


def open_filesystem(address: str) -> tuple[Any, str]:
    """The pyarrow filesystem of an address, and the path on it. Schemes that pyarrow lacks go to fsspec."""
    if "://" not in address:
        return pafs.LocalFileSystem(), expanduser(address)
    scheme, _, rest = address.partition("://")
    path, mark, options = rest.partition("?")
    if "=" not in options:  # then the question mark is a glob's, not the start of filesystem options
        path, mark, options = rest, "", ""
    try:
        # A glob's characters are not valid in a URI: the filesystem is asked for without them.
        fixed = path[: _first_wildcard(path)]
        filesystem, _ = pafs.FileSystem.from_uri(f"{scheme}://{fixed}{mark}{options}")
        return filesystem, path
    except (ArrowException, OSError):
        import fsspec

        try:
            return pafs.PyFileSystem(pafs.FSSpecHandler(fsspec.filesystem(scheme))), path
        except (ValueError, ImportError, OSError) as error:
            raise UserError(f"{address}: no filesystem for `{scheme}://`: {error}") from error


def _first_wildcard(path: str) -> int:
    return min((path.index(mark) for mark in "*?[" if mark in path), default=len(path))


def _list(filesystem: Any, path: str) -> list[Any]:
    if (wildcard := _first_wildcard(path)) == len(path):
        info = filesystem.get_file_info(path)
        if info.type == pafs.FileType.File:
            if not _is_task_file(path):
                known = ", ".join(sorted(LINE_SUFFIXES | {".parquet"}))
                raise UserError(f"tasks: {path}: unknown format (known: {known}, with {', '.join(CODECS)})")
            return [info]
        if info.type == pafs.FileType.NotFound:
            return []
        base, pattern = path, None
    else:
        base, pattern = path[:wildcard].rpartition("/")[0] or ("/" if path.startswith("/") else "."), _glob_regex(path)
    found = filesystem.get_file_info(pafs.FileSelector(base, recursive=True, allow_not_found=True))
    return [info for info in found if info.type == pafs.FileType.File and _is_wanted(info.path, pattern)]


def _is_wanted(path: str, pattern: re.Pattern[str] | None) -> bool:
    if pattern is not None and not pattern.fullmatch(_bare(path)):
        return False
    return _is_task_file(path) and not PurePosixPath(path).name.startswith((".", "_"))


def _is_task_file(path: str) -> bool:
    suffixes = PurePosixPath(path).suffixes
    if suffixes and suffixes[-1] in CODECS:
        suffixes.pop()
        return bool(suffixes) and suffixes[-1] in LINE_SUFFIXES
    return bool(suffixes) and (suffixes[-1] in LINE_SUFFIXES or suffixes[-1] == ".parquet")


def _bare(path: str) -> str:
    """Without what filesystems disagree about: a leading ``./`` or ``/``."""
    return path.removeprefix("./").lstrip("/")


def _glob_regex(pattern: str) -> re.Pattern[str]:
    """Shell glob to regular expression; ``**/`` is any number of folders, ``*`` stays within a name."""
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", _bare(pattern))
    return re.compile("".join(pieces.get(part, part if part.startswith("[") else re.escape(part)) for part in parts))


def _version(info: Any) -> tuple[int, int]:
    return info.size or 0, info.mtime_ns or 0


def _split(stream: Any, max_bytes: int) -> Iterator[bytes | None]:
    """Lines without their newline; None for each one above ``max_bytes`` (its bytes are let go as they come)."""
    carry, too_long = bytearray(), False
    while chunk := stream.read(_CHUNK_BYTES):
        *ends, tail = chunk.split(b"\n")
        for end in ends:
            carry += end
            yield None if too_long or len(carry) > max_bytes else bytes(carry)
            carry, too_long = bytearray(), False
        carry += tail
        if len(carry) > max_bytes:
            carry, too_long = bytearray(), True
    if carry or too_long:
        yield None if too_long else bytes(carry)


def _parquet_row(number: int, row: dict[str, Any], max_bytes: int) -> RawRow:
    row = _without_nulls(row)
    params = row.get("responses_create_params")
    try:
        if isinstance(params, str):  # how tables without nested columns carry it
            row["responses_create_params"] = orjson.loads(params)
        raw = orjson.dumps(row)
    except (TypeError, ValueError) as error:
        return RawRow(number, None, f"cannot be written as JSON: {error}")
    if len(raw) > max_bytes:
        return RawRow(number, None, f"the row is longer than tasks.max_row_mb ({max_bytes / 1e6:g} MB)")
    return RawRow(number, raw)


def _without_nulls(value: Any) -> Any:
    """Parquet cannot tell an absent key from a null one: absent is what JSON rows mean."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
