"""Calls in both directions over one stream socket, between a process and the child it started.

Frames (``frames``)::

    ask   number, operation, arguments   -> the other side's ``serve(operation, *arguments)``
    tell  number, answer
    fail  number, exception              RolloutError, MaskRollout, UserError as they are; others as RuntimeError
    drop  number                         whoever asked no longer waits: the work is cancelled

Any number of calls run at once, in any order. When the socket ends, everything asked fails with ``ConnectionError``.
There are no deadlines here: callers have their own.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from gym_ray.resources.frames import FrameBuffer, frame
from gym_ray.types.errors import MaskRollout, RolloutError, UserError, describe

Serve = Callable[..., Awaitable[Any]]
"""``serve(operation, *arguments)``: the answer to the other side."""
PLAIN = (RolloutError, MaskRollout, UserError)


class Duplex(asyncio.Protocol):
    """One end. Belongs to one event loop. ``lost``: called once, when the other side is gone."""

    def __init__(self, serve: Serve, lost: Callable[[], None]) -> None:
        self._serve, self._lost = serve, lost
        self._buffer = FrameBuffer()
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._serving: dict[int, asyncio.Task[None]] = {}
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def over(cls, channel: socket.socket, serve: Serve, lost: Callable[[], None]) -> Duplex:
        """The end at ``channel``, which it owns from now on."""
        loop = asyncio.get_running_loop()
        _, duplex = await loop.create_unix_connection(lambda: cls(serve, lost), sock=channel)
        return duplex

    async def call(self, operation: str, *arguments: Any) -> Any:
        """The other side's answer.

        Raises:
            ConnectionError: it is gone. Further, what it raised.
        """
        number = next(self._numbers)
        data = frame(("ask", number, (operation, *arguments)))
        self._send(data)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            return await future
        except asyncio.CancelledError:
            if self._open:
                self._send(frame(("drop", number, None)))
            raise
        finally:
            del self._asked[number]

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for kind, number, value in self._buffer.feed(data):
            if kind == "ask":
                task = asyncio.get_running_loop().create_task(self._answer(number, *value))
                self._serving[number] = task
                task.add_done_callback(partial(self._served, number))
            elif kind == "drop":
                if number in self._serving:
                    self._serving[number].cancel()
            elif number in self._asked and not self._asked[number].done():
                future = self._asked[number]
                future.set_result(value) if kind == "tell" else future.set_exception(value)

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._serving.values():
            task.cancel()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(ConnectionError("the other process is gone"))
        self._lost()

    def _served(self, number: int, _: asyncio.Task[None]) -> None:
        del self._serving[number]

    @property
    def _open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def _send(self, data: bytes) -> None:
        if not self._open:
            raise ConnectionError("the other process is gone")
        assert self._transport is not None
        self._transport.write(data)

    async def _answer(self, number: int, operation: str, *arguments: Any) -> None:
        try:
            data = frame(("tell", number, await self._serve(operation, *arguments)))
        except PLAIN as error:
            data = frame(("fail", number, error))
        except Exception as error:
            data = frame(("fail", number, RuntimeError(describe(error))))
        if self._open:
            self._send(data)
