"""A run's directory: the product of a collection, on any filesystem.

Layout: ``config.yaml`` (resolved, secrets redacted), ``manifest.json`` (present when, and only when, the
shards it lists are whole), ``rollouts/``, ``failures/``, ``metrics.json``, ``journal/``, ``log/``.

Invariants: a file that others read appears whole or not at all (temporary name, then rename); temporary
names begin with ``.``, which dataset readers skip. A :class:`RunDir` is a value: it pickles as its address.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import orjson
from pyarrow import fs

from gym_ray.types.errors import UserError

CONFIG, MANIFEST, METRICS = "config.yaml", "manifest.json", "metrics.json"
ROLLOUTS, FAILURES, JOURNAL, PLAN, LOG = "rollouts", "failures", "journal", "journal/plan", "log"
_OURS = frozenset({CONFIG, MANIFEST, METRICS, ROLLOUTS, FAILURES, JOURNAL, LOG, "report.html"})


class RunDir:
    """One run's directory.

    ``address``: a local path, a URI that pyarrow knows (``s3://``, ``gs://``, ``hdfs://``) or any fsspec
    one. ``filesystem`` and ``root``: the pyarrow filesystem, and the directory's path on it. ``local``: the
    path is one of this host's (network mounts too), so plain system calls work.

    Raises:
        UserError: no filesystem answers to the address.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.filesystem, self.root = _resolve(address)
        self.local = isinstance(self.filesystem, fs.LocalFileSystem)

    def __reduce__(self) -> tuple[object, ...]:
        return RunDir, (self.address,)

    @classmethod
    def create(cls, address: str) -> RunDir:
        """The directory, made if need be, and proven writable.

        Raises:
            UserError: it cannot be made or written, or it is a directory of something else.
        """
        run = cls(address)
        if run.filesystem.get_file_info(run.path("")).type == fs.FileType.File:
            raise UserError(f"{address} is a file: a run is a directory, choose another")
        strangers = [name for name in run.names("") if name not in _OURS and not name.startswith(".")]
        if strangers and not run.exists(CONFIG):
            raise UserError(f"{address} is not empty and no run directory (it has {strangers[0]}): choose another")
        with run.writing(""):
            for part in (ROLLOUTS, FAILURES, PLAN, LOG):
                run.filesystem.create_dir(run.path(part), recursive=True)
        probe = f"{LOG}/.probe-{secrets.token_hex(4)}"
        run.write(probe, b"\0" * 4096)
        run.remove(probe)
        return run

    @classmethod
    def open(cls, address: str) -> RunDir:
        """An existing run.

        Raises:
            UserError: there is none.
        """
        run = cls(address)
        if not run.exists(CONFIG):
            raise UserError(f"{address} is no run directory: it has no {CONFIG}")
        return run

    @cached_property
    def _base(self) -> str:
        return self.root.rstrip("/")

    def path(self, part: str) -> str:
        """``part`` (relative, ``/`` between) as a path on :attr:`filesystem`."""
        return f"{self._base}/{part}" if part else self._base

    def exists(self, part: str) -> bool:
        """Whether a file or directory is there."""
        return bool(self.filesystem.get_file_info(self.path(part)).type != fs.FileType.NotFound)

    def names(self, part: str, suffix: str = "") -> list[str]:
        """Sorted names in directory ``part`` that end in ``suffix``; empty when there is no such directory."""
        selector = fs.FileSelector(self.path(part), allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        return sorted(info.base_name for info in infos if info.base_name.endswith(suffix))

    def read(self, part: str) -> bytes:
        """The content of a file. Raises FileNotFoundError."""
        with self.filesystem.open_input_file(self.path(part)) as source:
            content: bytes = source.read()
        return content

    def read_json(self, part: str) -> Any | None:
        """The JSON value in a file, None when there is no such file."""
        return orjson.loads(self.read(part)) if self.exists(part) else None

    def write(self, part: str, content: bytes) -> None:
        """Write a file whole or not at all. Raises UserError."""
        with self.create_file(part) as sink:
            sink.write(content)

    @contextlib.contextmanager
    def create_file(self, part: str) -> Iterator[IO[bytes]]:
        """A sink for a new file that appears under its name when the block ends without an error.

        Raises:
            UserError: the filesystem refused (full, read-only, gone).
        """
        folder, _, name = part.rpartition("/")
        temporary = f"{folder}/.{name}.{secrets.token_hex(4)}.tmp".lstrip("/")
        with self.writing(part):
            try:
                with self.filesystem.open_output_stream(self.path(temporary)) as sink:
                    yield sink
                self._sync(temporary)
                self.filesystem.move(self.path(temporary), self.path(part))
            except BaseException:
                with contextlib.suppress(OSError):
                    self.filesystem.delete_file(self.path(temporary))
                raise

    def _sync(self, part: str) -> None:
        """Flush a file to disk before it gets its name: else a power loss can leave the name without content."""
        if self.local:
            descriptor = os.open(self.path(part), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def remove(self, part: str) -> None:
        """Remove a file if it is there. Raises UserError."""
        with self.writing(part), contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path(part))

    @contextlib.contextmanager
    def writing(self, part: str) -> Iterator[None]:
        """Turn what the filesystem raises into one line that names the path and the cause."""
        try:
            yield
        except OSError as error:
            raise UserError(f"cannot write {self.path(part)}: {cause(error)}") from error


def cause(error: OSError) -> str:
    """``No space left on device (ENOSPC)``: what went wrong, without the path, in one line."""
    if error.errno:
        return f"{os.strerror(error.errno)} ({errno.errorcode.get(error.errno, error.errno)})"
    return " ".join(str(error).split())[:300] or type(error).__name__


def _resolve(address: str) -> tuple[Any, str]:
    """The filesystem and the path on it. Object stores that only fsspec knows come wrapped."""
    if "://" not in address:
        return fs.LocalFileSystem(), str(Path(address).expanduser().absolute())
    try:
        filesystem, root = fs.FileSystem.from_uri(address)
    except (ValueError, OSError):
        return _resolve_fsspec(address)
    return filesystem, root


def _resolve_fsspec(address: str) -> tuple[Any, str]:
    try:
        import fsspec

        filesystem, root = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError, OSError) as error:
        raise UserError(f"cannot reach {address}: {' '.join(str(error).split())[:300]}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), root
