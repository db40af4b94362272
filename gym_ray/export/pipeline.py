"""An export: groups of a run in, one file per split and a dataset card out.

Memory holds one group, a batch of examples per split and, with ``dedup``, 16 bytes of each example. Files appear
whole or not at all, the card last; an export in which nothing is left makes none.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import parquet as pq

from gym_ray.collect.output.shardfile import LineFile, Output, ShardFile
from gym_ray.collect.rundir import RunDir
from gym_ray.export.conversation import Json, Unfit
from gym_ray.export.formats import FORMATS, Format
from gym_ray.export.schemas import to_table
from gym_ray.export.select import select, split_of
from gym_ray.export.settings import ExportSettings
from gym_ray.runs.groups import read_groups
from gym_ray.runs.read import check_environments
from gym_ray.runs.rollouts import Group
from gym_ray.types.errors import UserError

BATCH_ROWS = 512
"""Examples per write, and per Parquet row group."""
SPLITS = ("train", "validation", "test")
CARD = "README.md"


@dataclass(slots=True)
class Tally:
    """What went in, what came out, and why the rest did not.

    ``read``: rollouts by outcome. ``dropped``: rollouts by the setting that refused them. ``unfit``: samples
    (rollouts, pairs or tasks) by why the format cannot carry them. ``versions``: policy versions of what was kept.
    """

    tasks: int = 0
    tasks_kept: int = 0
    kept: int = 0
    read: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    unfit: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    versions: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        """In one line."""
        parts = [f"{self.read.total():,} rollouts of {self.tasks:,} tasks read, {self.kept:,} kept"]
        parts += [f"{name}: {count:,} dropped" for name, count in self.dropped.most_common()]
        parts += [f"{why}: {count:,} unfit" for why, count in self.unfit.most_common()]
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made. ``files``: paths within ``address``, in the order of splits."""

    address: str
    files: list[ShardFile]
    tally: Tally

    @property
    def examples(self) -> int:
        """Of all splits."""
        return sum(made.rows for made in self.files)


def export(address: str, name: str, settings: ExportSettings) -> Exported:
    """Export the run at ``address`` in the format ``name`` (a key of ``FORMATS``), without its card.

    Raises:
        UserError: no such run or no shards, ``out`` is not empty or cannot be written, or nothing is left.
    """
    style, tally = FORMATS[name], Tally()
    if settings.validation + settings.test >= 1:
        raise UserError(f"validation={settings.validation:g} and test={settings.test:g} leave nothing to train on")
    check_environments(settings.env, "env", address)
    folder = _folder(settings.out)
    outputs: dict[str, Output[Json]] = {}
    with contextlib.ExitStack() as stack:
        writer = _Writer(folder, stack, style, outputs)
        for split, example in examples(address, style, settings, tally):
            writer.add(split, example)
        writer.flush()
        if not outputs:
            raise UserError(f"nothing left to export from {address}: {tally}")
    made = [outputs[split].made() for split in SPLITS if split in outputs]
    return Exported(settings.out, [file for file in made if file is not None], tally)


def examples(address: str, style: Format, settings: ExportSettings, tally: Tally) -> Iterator[tuple[str, Json]]:
    """(split, example) of everything that is left, in the order of tasks. ``tally`` counts along.

    Raises:
        UserError: see :func:`export`.
    """
    seen: set[bytes] = set()
    for group in read_groups(address, tokens=style.tokens, tasks=style.tasks):
        tally.tasks += 1
        tally.read.update(str(rollout.outcome) for rollout in group.rollouts)
        group.rollouts = select(group, settings, tally.dropped)
        if not group.rollouts:
            continue
        tally.tasks_kept += 1
        tally.kept += len(group.rollouts)
        tally.versions.update(*(rollout.versions for rollout in group.rollouts))
        split = split_of(group.task_id, settings)
        for example in _of_group(group, style, settings, tally):
            if settings.dedup and not _is_new(example, style, seen):
                tally.duplicates += 1
            else:
                yield split, example


def _of_group(group: Group, style: Format, settings: ExportSettings, tally: Tally) -> Iterator[Json]:
    for sample in style.samples(group, settings):
        try:
            yield from style.make(sample, settings)
        except Unfit as error:
            tally.unfit[str(error)] += 1


def _is_new(example: Json, style: Format, seen: set[bytes]) -> bool:
    key = orjson.dumps([example[name] for name in style.identity], option=orjson.OPT_SORT_KEYS)
    digest = blake2b(key, digest_size=16).digest()
    is_new = digest not in seen
    seen.add(digest)
    return is_new


def _folder(address: str) -> RunDir:
    """The folder to write, made if need be. (A :class:`RunDir` is any folder on any filesystem.)"""
    folder = RunDir(address)
    if strangers := folder.names(""):
        raise UserError(f"out={address} is not empty (it has {strangers[0]}): choose another")
    return folder


class _Writer:
    """Examples of each split on the way to its file, a batch at a time."""

    def __init__(
        self, folder: RunDir, stack: contextlib.ExitStack, style: Format, outputs: dict[str, Output[Json]]
    ) -> None:
        self._folder, self._stack, self._style, self._outputs = folder, stack, style, outputs
        self._waiting: dict[str, list[Json]] = {}

    def add(self, split: str, example: Json) -> None:
        waiting = self._waiting.setdefault(split, [])
        waiting.append(example)
        if len(waiting) >= BATCH_ROWS:
            self._put(split)

    def flush(self) -> None:
        for split in list(self._waiting):
            self._put(split)

    def _put(self, split: str) -> None:
        if split not in self._outputs:
            with self._folder.writing(""):
                self._folder.filesystem.create_dir(self._folder.path(""), recursive=True)
            self._outputs[split] = self._open(f"{split}.{self._style.suffix}")
        self._outputs[split].write(self._waiting.pop(split, []))

    def _open(self, path: str) -> Output[Json]:
        if self._style.schema is None:
            return LineFile(self._folder, self._stack, path, _line)
        return _TableFile(self._folder, self._stack, path, self._style.schema)


def _line(example: Json) -> bytes:
    return orjson.dumps(example) + b"\n"


class _TableFile(Output[Json]):
    """Examples as Parquet, one row group per write, compressed with zstd."""

    def __init__(self, folder: RunDir, stack: contextlib.ExitStack, path: str, schema: pa.Schema) -> None:
        super().__init__(folder, stack, path)
        self._schema = schema

    def _open(self, sink: Any) -> None:
        self._writer = self._stack.enter_context(pq.ParquetWriter(sink, self._schema, compression="zstd"))

    def _put(self, sink: Any, rows: list[Json]) -> None:
        self._writer.write_table(to_table(rows, self._schema))
