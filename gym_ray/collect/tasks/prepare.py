"""From published blends to task files of a run.

Each row: placeholder filled in -> bookkeeping of other systems taken out -> its environment found -> held against that
environment's Task class -> named. Rows keep their order, which may be a curriculum. The last rows are for validation.

``train.jsonl`` and ``validation.jsonl`` have the whole blend; ``train/ENV.jsonl`` the rows of one environment.

Invariants: a row is in ``train``, in ``validation`` or bad, and the counts add up. Where the split is depends on
positions in the input alone, so that a bad row moves nothing. Files appear whole or not at all.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import orjson

from gym_ray.collect.tasks.bad_rows import BadRow, BadRows
from gym_ray.collect.tasks.identity import hash64, row_id
from gym_ray.collect.tasks.placeholders import KEY, Pair, placeholder_of, read_pairs, resolve
from gym_ray.collect.tasks.rules import BadTask, TaskRules, parse_row, task_id_of
from gym_ray.collect.tasks.sources import RawRow, Source, find_sources
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.errors import UserError

FOREIGN = "_ng_"
"""Keys that begin so are NeMo Gym's bookkeeping of another run."""
Split = Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to prepare. ``pointed``: files of the data sets that placeholders point into, by source.

    ``routes``: a row whose ``dataset`` has KEY in its name belongs to that environment whatever its agent.
    """

    files: str
    out: str
    validation_rows: int = 0
    pointed: Mapping[str, str] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)
    on_bad_row: Literal["stop", "skip"] = "stop"
    max_row_mb: float = 64.0


@dataclass(slots=True)
class Report:
    """What came of it. ``rows``: read. ``environments``: rows by environment and split. ``filled``: by source.

    ``agents``: environment by agent name, as found in rows.
    """

    rows: int = 0
    bad: int = 0
    environments: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    filled: Counter[str] = field(default_factory=Counter)
    agents: dict[str, str] = field(default_factory=dict)

    @property
    def written(self) -> int:
        """Rows in either split."""
        return sum(counts.total() for counts in self.environments.values())


def prepare(
    wishes: Wishes, envs: Mapping[str, EnvironmentConfig], servers: Mapping[str, type[ResourcesServer]]
) -> Report:
    """Write the task files.

    Raises:
        UserError: files that cannot be read or written; bad rows (all counted, the first ones named), unless they
            are to be skipped (``bad_rows.jsonl`` then has them).
    """
    out = Path(wishes.out).expanduser()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _Writer(out) as writer:
            report = _Preparation(wishes, envs, servers, writer).run()
    except OSError as error:
        raise UserError(f"out={wishes.out}: {error.strerror}") from error
    assert report.rows == report.written + report.bad, "a row is written once, or bad"
    return report


class _Preparation:
    """One pass to see what is pointed at, one to write."""

    def __init__(
        self,
        wishes: Wishes,
        envs: Mapping[str, EnvironmentConfig],
        servers: Mapping[str, type[ResourcesServer]],
        writer: _Writer,
    ) -> None:
        self._wishes, self._writer, self._envs = wishes, writer, envs
        self._rules = TaskRules(envs, servers)
        self._sources = find_sources(wishes.files)
        self._max_bytes = int(wishes.max_row_mb * 1e6)
        self._names: dict[int, int] = {}
        self._report = Report()

    def run(self) -> Report:
        self._pairs = self._pointed_at()
        with BadRows(self._wishes.on_bad_row, self._writer.bad_rows) as bad:
            for source, raw, split in self._placed():
                self._report.rows += 1
                try:
                    row, environment = self._task(raw)
                except BadTask as problem:
                    self._report.bad += 1
                    bad.add(BadRow(source.address, raw.number, list(problem.args)))
                else:
                    self._report.environments[environment][split] += 1
                    self._writer.write(split, environment, row)
        if not self._report.written:
            raise UserError(f"no task in {self._wishes.files}")
        return self._report

    def _placed(self) -> Iterator[tuple[Source, RawRow, Split]]:
        """All rows, with where they go: the last ones are known only when everything has been read."""
        held: deque[tuple[Source, RawRow]] = deque()
        for place in self._rows():
            held.append(place)
            if len(held) > self._wishes.validation_rows:
                yield *held.popleft(), "train"
        for source, raw in held:
            yield source, raw, "validation"

    def _rows(self) -> Iterator[tuple[Source, RawRow]]:
        for source in self._sources:
            for raw in source.rows(self._max_bytes):
                yield source, raw

    def _pointed_at(self) -> dict[str, dict[int, Pair | str]]:
        """What placeholders point at, as far as files were given. Bad rows are told in the second pass."""
        wanted: dict[str, set[int]] = defaultdict(set)
        for _, raw in self._rows():
            if raw.raw is None or KEY.encode() not in raw.raw:
                continue
            with contextlib.suppress(BadTask):
                pointer = placeholder_of(parse_row(raw.raw))
                if pointer is not None:
                    wanted[pointer[0]].add(pointer[1])
        given = self._wishes.pointed
        return {kind: read_pairs(given[kind], rows, self._max_bytes) for kind, rows in wanted.items() if kind in given}

    def _task(self, raw: RawRow) -> tuple[bytes, str]:
        if raw.raw is None:
            raise BadTask(f"row: {raw.problem}")
        row = parse_row(raw.raw)
        filled = resolve(row, self._pairs)
        row = {key: value for key, value in row.items() if not key.startswith(FOREIGN)}
        environment = self._environment(row)
        row = self._rules.adopted(row, environment)
        row["environment"] = environment
        self._rules.check(row, environment)
        row["task_id"] = self._name(row, environment)
        if filled is not None:
            self._report.filled[filled] += 1
        return orjson.dumps(row), environment

    def _environment(self, row: dict[str, Any]) -> str:
        dataset, agent = row.get("dataset"), row.get("agent_ref")
        for part, environment in self._wishes.routes.items():
            if isinstance(dataset, str) and part in dataset and environment in self._envs:
                return environment
        # What a row calls its environment elsewhere is no claim here.
        found = self._rules.route({key: value for key, value in row.items() if key != "environment"})
        if isinstance(agent, dict) and isinstance(agent.get("name"), str):
            self._report.agents[agent["name"]] = found
        return found

    def _name(self, row: dict[str, Any], environment: str) -> str:
        """The row's id, unless another row of the environment has it too: then its content is added."""
        raw = orjson.dumps({key: value for key, value in row.items() if key != "task_id"})
        name, _ = task_id_of(row, raw)
        content = hash64(raw)
        if self._names.setdefault(hash64(f"{environment}\0{name}".encode()), content) != content:
            name = f"{name}-{row_id(raw)}"
        return name


class _Writer:
    """The output files, by split and by environment; they get their names when all is well."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._files: dict[Path, IO[bytes]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        for path in self._files:
            part = path.with_name(f"{path.name}.part")
            if error[0] is None:
                part.replace(path)
            else:
                part.unlink(missing_ok=True)

    def write(self, split: Split, environment: str, row: bytes) -> None:
        self._file(self._out / f"{split}.jsonl").write(row + b"\n")
        self._file(self._out / split / f"{environment}.jsonl").write(row + b"\n")

    @contextlib.contextmanager
    def bad_rows(self) -> Iterator[IO[bytes]]:
        yield self._file(self._out / "bad_rows.jsonl")

    def _file(self, path: Path) -> IO[bytes]:
        if path not in self._files:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[path] = self._stack.enter_context(path.with_name(f"{path.name}.part").open("wb"))
        return self._files[path]
