"""What to run in a sandbox, within which limits, and what came of it. Frozen values, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program, with everything it starts, may use.

    ``wall_s``: seconds until all of it is killed. ``cpu_s``: CPU seconds per process. ``memory_bytes``: resident
    memory of all its processes. ``processes``: processes and threads at once. ``file_bytes``: longest file.
    ``open_files``: descriptors per process. ``output_bytes``: kept of each of standard output and error.
    """

    wall_s: float = 10.0
    cpu_s: float = 10.0
    memory_bytes: int = 512 << 20
    processes: int = 64
    file_bytes: int = 32 << 20
    open_files: int = 128
    output_bytes: int = 1 << 20

    def as_dict(self) -> dict[str, Any]:
        """For the wire."""
        return {name: getattr(self, name) for name in self.__slots__}

    def within(self, seconds: float) -> Limits:
        """The same with another deadline, which also bounds CPU time."""
        return replace(self, wall_s=seconds, cpu_s=min(self.cpu_s, seconds))


@dataclass(frozen=True, slots=True)
class Command:
    """A program: either ``argv``, or ``python``, source that runs as a main program with ``arguments``.

    ``files``: put into the working directory first, by relative path. ``env``: added to the sandbox's few variables;
    nothing of this process's environment gets in.
    """

    argv: tuple[str, ...] = ()
    python: str | None = None
    arguments: tuple[str, ...] = ()
    stdin: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if bool(self.argv) == (self.python is not None):
            raise ValueError("give either `argv` or `python`")
        for name in self.files:
            if not name or name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"file {name!r} must stay inside the working directory")


class Killed(StrEnum):
    """Why a program did not end by itself."""

    NO = ""
    DEADLINE = "deadline"
    CPU = "cpu"
    MEMORY = "memory"
    SANDBOX = "sandbox"
    """It took its whole sandbox down. That is the program's doing, never a failure of the machine."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a program. ``exit``: its status, None when a signal ended it (then ``signal`` has the number).

    ``cut``: output was longer than the limit. ``cpu_s``, ``memory_bytes``: of the main process and its waited-for
    children. ``fresh``: this request began a new interpreter (sessions).
    """

    exit: int | None
    stdout: bytes = b""
    stderr: bytes = b""
    killed: Killed = Killed.NO
    signal: int | None = None
    cut: bool = False
    cpu_s: float = 0.0
    wall_s: float = 0.0
    memory_bytes: int = 0
    fresh: bool = False

    @property
    def ok(self) -> bool:
        """It ended by itself with status 0."""
        return self.exit == 0 and not self.killed
