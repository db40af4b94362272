"""What packages an environment needs, as lines of a requirements file.

They travel as text from the driver to the nodes that host the environment. Places that they name (`./package`,
`-e ../library`) are relative to a folder, which must then be there on those nodes too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gym_ray.types.errors import UserError

_NESTED = re.compile(r"^(-r|-c|--requirement|--constraint)\b")
_SOURCES = frozenset({".py", ".toml", ".cfg", ".txt", ".whl", ".gz", ".c", ".cpp", ".rs"})


@dataclass(frozen=True, slots=True)
class Requirements:
    """``lines`` without comments and blanks. ``folder``: where relative places begin."""

    lines: tuple[str, ...]
    folder: str

    @classmethod
    def of(cls, lines: Iterable[str], folder: Path) -> Requirements | None:
        """Those in ``lines``; None when there are none.

        Raises:
            UserError: a line refers to another file.
        """
        found = tuple(line for raw in lines if (line := re.sub(r"(^|\s)#.*", "", raw).strip()))
        for line in found:
            if _NESTED.match(line):
                raise UserError(f"requirements: `{line}`: files in files are not followed; put all lines into one")
        return cls(found, str(folder.resolve())) if found else None

    @classmethod
    def read(cls, given: str | list[str]) -> Requirements | None:
        """A list as it is, relative to the working directory, or the lines of the file ``given``.

        Raises:
            UserError: no such file, or as :meth:`of`.
        """
        if not isinstance(given, str):
            return cls.of(given, Path.cwd())
        file = Path(given).expanduser()
        if not file.is_file():
            raise UserError(f'requirements: no file {file}; for packages write a list: requirements=["NAME==1.2"]')
        return cls.of(file.read_text().splitlines(), file.parent)

    def content(self) -> str:
        """All that decides what gets installed: the lines and, for places on this machine, their files' dates."""
        return "\n".join([*self.lines, *(stamp for line in self.lines for stamp in self._stamps(line))])

    def _stamps(self, line: str) -> Iterator[str]:
        place = re.sub(r"^(-e|--editable)\s*", "", line).rpartition("@ ")[2].removeprefix("file://")
        root = Path(self.folder, re.sub(r"\[[^\]]*\]$", "", place.strip()))
        if not re.match(r"[./~]", place.strip()) or not root.exists():
            return
        yield str(root)
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(
                one for one in folders if not one.startswith(".") and one not in ("build", "__pycache__")
            )
            yield from (_stamp(Path(folder, name)) for name in sorted(files) if Path(name).suffix in _SOURCES)
        if root.is_file():
            yield _stamp(root)


def _stamp(file: Path) -> str:
    found = file.stat()
    return f"{file} {found.st_size} {found.st_mtime_ns}"
