"""The journal's file format: how a frame is made, found and checked.

A file is ``FILE_MAGIC`` and then frames. A frame (all little-endian): ``HEADER`` = magic, kind, outcome,
flags, rollout index, task number, reward (NaN: none; of a start or a close: when, in Unix seconds), payload
length, CRC-32 of the payload; CRC-32 of the header; payload. Two checksums, so that headers can be walked without
touching payloads, and so that a damaged payload costs one record while a damaged header, after which nothing can
be found, costs the rest.
"""

from __future__ import annotations

import contextlib
import mmap
import re
import struct
from array import array
from collections.abc import Iterator
from enum import IntEnum
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from gym_ray.collect.rundir import JOURNAL, RunDir, cause
from gym_ray.types.errors import UserError
from gym_ray.types.outcome import Outcome

FILE_MAGIC = b"gymrayj1"
"""First bytes of each file; the last one is the format's version."""
HEADER = struct.Struct("<BBBBIQdII")
CHECK = struct.Struct("<I")
FRAME_BYTES = HEADER.size + CHECK.size
FRAME_MAGIC = 0xA7
ALONE = 1
"""Flag of a start: nothing else runs in this process, so if it dies, this rollout did it."""
INDEX_BITS = 24
"""A key is ``task_number << INDEX_BITS | rollout_index``: it sorts by task, then index."""
HEADER_TYPE = np.dtype(
    {
        "names": ["magic", "kind", "outcome", "flags", "index", "task", "reward", "length", "crc"],
        "formats": ["u1", "u1", "u1", "u1", "<u4", "<u8", "<f8", "<u4", "<u4"],
    }
)
"""``HEADER`` as numpy sees it."""

_FILE_NAME = re.compile(r"(?P<segment>.+-[0-9a-f]{8})(-\d{6,})?\.seg")


class Kind(IntEnum):
    """What a frame says."""

    START = 1
    """An attempt at a rollout began."""
    GENERATED = 2
    """A trajectory is complete and waits for its group's verdict."""
    ROLLOUT = 3
    """Final: the rollout has its outcome."""
    CLOSE = 4
    """The writer ended in peace: its unfinished starts were interrupted, not killed."""


OUTCOME_CODES: dict[Outcome, int] = {Outcome.SCORED: 0, Outcome.MASKED: 1, Outcome.FAILED: 2}
"""Outcomes as frames carry them."""


def segment_of(file_name: str) -> str | None:
    """The segment (``<owner>-<8 hex digits>``) that a file of the journal belongs to, None for strangers."""
    match = _FILE_NAME.fullmatch(file_name)
    return match["segment"] if match else None


def make_key(task: int, index: int) -> int:
    """The key of one rollout."""
    return task << INDEX_BITS | index


def make_frame(kind: Kind, task: int, index: int, outcome: int, flags: int, reward: float, payload: bytes) -> bytes:
    """One frame. Raises struct.error when a number does not fit."""
    length = len(payload)
    header = HEADER.pack(FRAME_MAGIC, kind, outcome, flags, index, task, reward, length, crc32(payload))
    return header + CHECK.pack(crc32(header)) + payload


@contextlib.contextmanager
def open_file(run: RunDir, name: str) -> Iterator[memoryview]:
    """The content of one journal file: mapped where that is possible, else read. Raises UserError."""
    try:
        content = memoryview(_map(run.path(f"{JOURNAL}/{name}")) if run.local else run.read(f"{JOURNAL}/{name}"))
    except OSError as error:
        raise UserError(f"cannot read {run.path(JOURNAL)}/{name}: {cause(error)}") from error
    # Unmapped with its last view, whenever that goes: closing it under one would be an error.
    yield content


def _map(path: str) -> mmap.mmap | bytes:
    with open(path, "rb") as source:
        return mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) if source.seek(0, 2) else b""


def walk(content: memoryview) -> tuple[NDArray[np.void], NDArray[np.uint64], int]:
    """Find all whole frames of a file.

    Returns their headers (``HEADER_TYPE``), where they begin, and how many bytes at the end are beyond a
    damaged header (0 when the file merely ends early, as a killed writer leaves it).
    """
    headers, offsets, unpack, check = bytearray(), array("Q"), HEADER.unpack_from, CHECK.unpack_from
    at, size, header_bytes = len(FILE_MAGIC), len(content), HEADER.size
    lost = 0 if content[:at] == FILE_MAGIC[:size] else size
    while not lost and at + FRAME_BYTES <= size:
        header = content[at : at + header_bytes]
        if crc32(header) != check(content, at + header_bytes)[0] or header[0] != FRAME_MAGIC:
            lost = size - at
            break
        after = at + FRAME_BYTES + unpack(header)[7]
        if after > size:
            break
        headers += header
        offsets.append(at)
        at = after
    return np.frombuffer(bytes(headers), HEADER_TYPE), np.frombuffer(offsets, np.uint64), lost


def is_intact(content: memoryview, offset: int) -> bool:
    """Whether the payload of the frame at ``offset`` is what was written."""
    *_, length, check = HEADER.unpack_from(content, offset)
    begin = offset + FRAME_BYTES
    return crc32(content[begin : begin + length]) == int(check)


def read_payload(content: memoryview, offset: int, name: str) -> bytes:
    """The payload of the frame at ``offset``.

    Raises:
        UserError: its checksum fails (``name`` is the file, for the message).
    """
    if not is_intact(content, offset):
        raise UserError(f"{JOURNAL}/{name} is damaged at byte {offset}: remove that file to make its rollouts again")
    begin = offset + FRAME_BYTES
    return bytes(content[begin : begin + HEADER.unpack_from(content, offset)[7]])
