"""Length-prefixed pickles over a stream: 8 bytes little-endian length, then the pickle.

Only ever between a host and the worker processes it started itself.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

_LENGTH = struct.Struct("<Q")


def frame(value: Any) -> bytes:
    """``value`` as one frame. Raises whatever pickling raises."""
    body = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


def read_frame(stream: BinaryIO) -> Any:
    """The next frame's value, blocking. Raises ``EOFError`` at the end of the stream."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    body = stream.read(length)
    if len(body) < length:
        raise EOFError
    return pickle.loads(body)


class FrameBuffer:
    """Collects what arrives and gives out whole frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """Add ``data``; yields the value of every frame that is complete now."""
        self._data += data
        at = 0
        while len(self._data) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data, at)
            end = at + _LENGTH.size + length
            if len(self._data) < end:
                break
            value = pickle.loads(memoryview(self._data)[at + _LENGTH.size : end])
            at = end
            yield value
        if at:
            del self._data[:at]
