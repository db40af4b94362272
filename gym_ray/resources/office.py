"""One environment as letters ask for it: what a resources actor does, without Ray.

Bytes in, bytes out, so that whoever carries the letters (``actor``, ``child``) need not read them.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.host import Host
from gym_ray.resources.judge import Judges
from gym_ray.resources.mailbox import Answer, Mailbox
from gym_ray.resources.rows import load_row
from gym_ray.types.errors import UserError

SILENCE_S = 120.0
"""A client not heard of for so long is dead: its sessions are closed."""

Letter = tuple[str, str | None, list[bytes]]
"""Client id, incarnation that it means (None: whichever), requests."""
Reply = tuple[str, list[Answer]]
"""Incarnation that answers, answers. With another incarnation than meant, the requests were not begun."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a client needs to know of the class, so that it need not import it. Deadlines in seconds."""

    pid: int
    tools: list[dict[str, Any]]
    gymnasium: bool
    scores_groups: bool
    needs_tokens: bool
    queues_verify: bool
    seed_timeout_s: float
    tool_timeout_s: float
    verify_timeout_s: float


class Office:
    """Serves ``config.server`` to any number of clients. Made anywhere; used on one event loop."""

    def __init__(self, name: str, config: EnvironmentConfig, judges: Judges | None = None) -> None:
        self._incarnation = uuid.uuid4().hex
        self._boxes: dict[str, Mailbox] = {}
        self._load_row = lru_cache(maxsize=512)(load_row)
        self._sweeper: asyncio.Task[None] | None = None
        self._host: Host | None = None
        self._error = ""
        try:
            self._host = Host(name, config, judges)
        except UserError as error:
            self._error = str(error)

    @property
    def sessions(self) -> int:
        """Open sessions."""
        return 0 if self._host is None else len(self._host.sessions)

    async def describe(self) -> Facts | str:
        """The class's facts, or why it cannot be served."""
        if self._host is None:
            return self._error
        self._start(self._host)
        host, server = self._host, self._host.server
        return Facts(
            os.getpid(),
            host.tools,
            host.gymnasium,
            host.scores_groups,
            server.needs_tokens,
            server.cpu_bound,
            host.seed_timeout_s,
            host.tool_timeout_s,
            host.verify_timeout_s + host.review_timeout_s,
        )

    async def exchange(self, letter: bytes) -> bytes:
        """A pickled ``Letter`` in, a pickled ``Reply`` out, within about a second."""
        assert self._host is not None
        self._start(self._host)
        client, meant, requests = pickle.loads(letter)
        answers: list[Answer] = []
        if meant == self._incarnation:
            box = self._boxes.get(client)
            if box is None:
                box = self._boxes[client] = Mailbox(self._host, self._load_row)
            for request in requests:
                box.start(request)
            answers = await box.collect()
        return pickle.dumps((self._incarnation, answers), pickle.HIGHEST_PROTOCOL)

    async def aclose(self) -> None:
        """Close every session; the office serves no more."""
        await asyncio.gather(*(box.close() for box in self._boxes.values()))
        if self._host is not None:
            await self._host.aclose()

    def _start(self, host: Host) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
            host.start()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SILENCE_S / 8)
            for client, box in list(self._boxes.items()):
                if box.silent_s > SILENCE_S:
                    del self._boxes[client]
                    await box.close()
