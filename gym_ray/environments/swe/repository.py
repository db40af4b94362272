"""A repository on its way into a sandbox and out of it: files by relative path, as bytes.

What comes out is read as plain data: regular files only, names that stay inside, sizes and counts bounded.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import io
import tarfile
from collections.abc import Mapping

ROOT = "repo"
"""The repository's folder under a sandbox's working directory."""
BUNDLE = "repo.bundle"
MAX_FILES, MAX_BYTES = 20_000, 64 << 20
"""Of a repository that comes out."""
Files = dict[str, bytes]

PACK = """\
import os, sys, tarfile
out = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
for folder, folders, names in os.walk("repo"):
    folders[:] = sorted(name for name in folders if name not in (".git", "__pycache__"))
    for name in sorted(names):
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not os.path.islink(path):
            out.add(path, os.path.relpath(path, "repo"), recursive=False)
out.close()
"""
"""A program that writes the repository to its standard output, without its history."""


def unpack(archive: bytes) -> Files:
    """The files of what :data:`PACK` wrote.

    Raises:
        ValueError: no archive of that kind, or one above the limits.
    """
    files: Files = {}
    size = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for member in tar:
                size += member.size
                if len(files) >= MAX_FILES or size > MAX_BYTES:
                    raise ValueError(f"the repository has more than {MAX_FILES:,} files or {MAX_BYTES >> 20} MiB")
                content = tar.extractfile(member) if member.isfile() and is_inside(member.name) else None
                if content is not None:
                    files[member.name] = content.read()
    except tarfile.TarError as error:
        raise ValueError(f"the repository cannot be read: {error}") from None
    return files


def is_inside(path: str) -> bool:
    """A relative path that names a file below where it starts."""
    return bool(path) and not path.startswith("/") and not {"..", ""} & set(path.split("/"))


def placed(files: Mapping[str, bytes]) -> Files:
    """The files under the repository's folder."""
    return {f"{ROOT}/{path}": content for path, content in files.items()}


def decode_bundle(text: str) -> bytes:
    """A git bundle from base64. Raises ValueError."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from None
    if not raw.startswith(b"# v"):
        raise ValueError("no git bundle (it begins with `# v2 git bundle`)")
    return raw


def patch(before: Mapping[str, bytes], after: Mapping[str, bytes], max_chars: int) -> str:
    """What changed, as a unified diff; a file that is no text is only named."""
    pieces: list[str] = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old != new:
            pieces += _one(path, old, new)
    text = "".join(pieces)
    return (
        text if len(text) <= max_chars else f"{text[:max_chars]}\n... ({len(text) - max_chars} characters left out)\n"
    )


def _one(path: str, old: bytes | None, new: bytes | None) -> list[str]:
    try:
        left, right = ((side or b"").decode().splitlines(keepends=True) for side in (old, new))
    except UnicodeDecodeError:
        return [f"Binary file {path} differs\n"]
    names = f"a/{path}" if old is not None else "/dev/null", f"b/{path}" if new is not None else "/dev/null"
    return [line if line.endswith("\n") else f"{line}\n" for line in difflib.unified_diff(left, right, *names)]
