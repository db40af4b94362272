"""What is in a directory of safetensors files, read from their headers alone.

Format: 8 bytes little-endian length, then that many bytes of JSON, ``{name: {dtype, shape, data_offsets}}``.
Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

from pathlib import Path

import orjson

from gym_ray.types.errors import UserError

Shapes = dict[str, list[int]]
TIED = "lm_head.weight"
"""May be missing on either side: a tied output head is often not stored."""


def shapes(directory: str | Path) -> Shapes:
    """Name -> shape of every tensor.

    Raises:
        UserError: there is none, or a file cannot be read.
    """
    files = sorted(Path(directory).glob("*.safetensors"))
    if not files:
        raise UserError(f"{directory}: no safetensors files here, as seen by the replica")
    found: Shapes = {}
    for file in files:
        found |= _header(file)
    return found


def _header(file: Path) -> Shapes:
    try:
        with file.open("rb") as stream:
            header = orjson.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError) as error:
        raise UserError(f"{file}: not a whole safetensors file ({type(error).__name__})") from None


def difference(new: Shapes, old: Shapes) -> str | None:
    """Why ``new`` cannot replace ``old``, in one line; None when names and shapes agree."""
    missing = sorted(old.keys() - new.keys() - {TIED})
    unknown = sorted(new.keys() - old.keys() - {TIED})
    if missing:
        return f"{len(missing)} of {len(old)} weights are missing, {missing[0]!r} first"
    if unknown:
        return f"{len(unknown)} weights are not in the model, {unknown[0]!r} first"
    for name in sorted(new.keys() & old.keys()):
        if list(new[name]) != list(old[name]):
            return f"{name!r} has shape {list(new[name])}, the model's is {list(old[name])}"
    return None
