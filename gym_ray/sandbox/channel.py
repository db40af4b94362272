"""The host's end of a sandbox's channel: one request at a time, each answered by its deadline."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from gym_ray.sandbox.guest.wire import BrokenFrame, Message, Reader, pack

CHUNK = 1 << 18


class Hangup(Exception):
    """The other end is gone, or does not keep to the protocol."""


class Channel:
    """Frames over a stream socket. Whoever gets a ``Hangup`` or is cancelled must not use it again."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._reader = Reader(1 << 20)

    async def ask(self, header: dict[str, Any], blobs: tuple[bytes, ...], max_bytes: int, timeout_s: float) -> Message:
        """Send a request and return its answer, of ``max_bytes`` at the most.

        Raises:
            Hangup: see there. TimeoutError: no answer in time.
        """
        self._reader.max_bytes = max_bytes
        async with asyncio.timeout(timeout_s):
            try:
                await asyncio.get_running_loop().sock_sendall(self._sock, pack(header, *blobs))
            except OSError as error:
                raise Hangup(str(error)) from None
            return await self._receive()

    async def receive(self, timeout_s: float) -> Message:
        """The next message.

        Raises:
            Hangup: see there. TimeoutError: none in time.
        """
        async with asyncio.timeout(timeout_s):
            return await self._receive()

    async def _receive(self) -> Message:
        loop = asyncio.get_running_loop()
        try:
            while (message := self._reader.next()) is None:
                data = await loop.sock_recv(self._sock, CHUNK)
                if not data:
                    raise Hangup("it ended")
                self._reader.feed(data)
        except (OSError, BrokenFrame) as error:
            raise Hangup(str(error)) from None
        return message

    def close(self) -> None:
        """Hang up."""
        self._sock.close()
