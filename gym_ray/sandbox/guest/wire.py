"""Frames between the host and a supervisor: a JSON header and raw byte strings.

``uint32 header length | header | blobs``; the header's ``blobs`` lists their lengths. Nothing that could run code when
it is read, since what comes from a sandbox is not trusted. A reader says how long a frame may be.
"""

from __future__ import annotations

import json
import os
import struct
from typing import Any

Message = tuple[dict[str, Any], list[bytes]]
_LENGTH = struct.Struct("<I")
MAX_HEADER = 1 << 20
"""Longest header in bytes."""


class BrokenFrame(Exception):
    """The other side does not speak this protocol, or says too much."""


def pack(header: dict[str, Any], *blobs: bytes) -> bytes:
    """One frame."""
    head = json.dumps({**header, "blobs": [len(blob) for blob in blobs]}).encode()
    return b"".join((_LENGTH.pack(len(head)), head, *blobs))


class Reader:
    """Takes bytes in any pieces and gives whole messages. ``max_bytes``: of all blobs of one frame."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what came."""
        self._data += data

    def next(self) -> Message | None:
        """The next message, or None until it is all there.

        Raises:
            BrokenFrame: see the class.
        """
        data = self._data
        if len(data) < 4:
            return None
        (length,) = _LENGTH.unpack_from(data)
        if length > MAX_HEADER:
            raise BrokenFrame(f"header of {length} bytes")
        if len(data) < 4 + length:
            return None
        header, sizes = _header(bytes(data[4 : 4 + length]))
        if sum(sizes) > self.max_bytes:
            raise BrokenFrame(f"frame of {sum(sizes)} bytes")
        end = 4 + length + sum(sizes)
        if len(data) < end:
            return None
        blobs, at = [], 4 + length
        for size in sizes:
            blobs.append(bytes(data[at : at + size]))
            at += size
        del data[:end]
        return header, blobs


def _header(raw: bytes) -> tuple[dict[str, Any], list[int]]:
    try:
        header = json.loads(raw)
        sizes = header["blobs"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BrokenFrame("no header") from None
    if not isinstance(header, dict) or not isinstance(sizes, list):
        raise BrokenFrame("no header")
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise BrokenFrame("bad sizes")
    return header, sizes


def send(descriptor: int, header: dict[str, Any], *blobs: bytes) -> None:
    """Write one frame to a blocking descriptor."""
    view = memoryview(pack(header, *blobs))
    while view:
        view = view[os.write(descriptor, view) :]


def receive(descriptor: int, reader: Reader) -> Message:
    """The next message from a blocking descriptor.

    Raises:
        EOFError: the other side hung up.
    """
    while True:
        message = reader.next()
        if message is not None:
            return message
        data = os.read(descriptor, 1 << 18)
        if not data:
            raise EOFError
        reader.feed(data)
