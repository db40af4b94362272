"""The environment's side of its own process (``child`` is the parent's): an office that answers over a socket.

Nothing here or below imports Ray. Judges are asked through the parent, by JSON, so that no package of this Python
has to exist in the parent's.
"""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import socket
from collections.abc import Mapping
from typing import Any

import orjson

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.duplex import Duplex
from gym_ray.resources.judge import JudgeModel, JudgeReply
from gym_ray.resources.load import load_server
from gym_ray.resources.office import Facts, Office
from gym_ray.resources.offspring import die_with
from gym_ray.types.errors import UserError
from gym_ray.types.items import Item


class ParentJudges:
    """The judges of the run that the parent has (``resources.judge.Judges``)."""

    def __init__(self, duplex: Duplex, names: frozenset[str]) -> None:
        self._duplex, self._names = duplex, names

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def open(self, name: str) -> JudgeModel:
        """See ``Judges``."""
        return _ParentJudge(self._duplex, name)


class _ParentJudge:
    def __init__(self, duplex: Duplex, name: str) -> None:
        self._duplex, self._name = duplex, name

    async def respond(self, items: list[Item], params: Mapping[str, Any]) -> JudgeReply:
        """See ``JudgeModel``."""
        reply: JudgeReply = await self._duplex.call("judge", self._name, orjson.dumps((items, dict(params))))
        return reply

    async def close(self) -> None:
        """The parent closes its own."""


class Child:
    """What the parent may ask: ``open``, ``exchange``, ``close``."""

    def __init__(self) -> None:
        self.duplex: Duplex
        self._office: Office | None = None

    async def serve(self, operation: str, *arguments: Any) -> Any:
        """The answer to one call."""
        if operation == "open":
            return await self._open(*arguments)
        assert self._office is not None
        if operation == "exchange":
            return await self._office.exchange(*arguments)
        return await self._office.aclose()

    async def _open(self, name: str, settings: dict[str, Any]) -> Facts | str:
        config = EnvironmentConfig(**settings)
        try:
            roles = load_server(config.server).roles(config.options)
        except UserError as error:
            return str(error)
        known = await self.duplex.call("known", [config.judge, *roles]) if roles else ()
        self._office = Office(name, config, ParentJudges(self.duplex, frozenset(known)))
        return await self._office.describe()


async def _serve(channel: socket.socket) -> None:
    gone, child = asyncio.Event(), Child()
    child.duplex = await Duplex.over(channel, child.serve, gone.set)
    await gone.wait()


def run(descriptor: int, parent: int) -> None:
    """Serve until the parent hangs up."""
    die_with(parent)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    channel = socket.socket(fileno=descriptor)
    channel.setblocking(False)
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(channel))
    else:
        uvloop.run(_serve(channel))
