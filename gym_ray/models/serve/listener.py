"""A replica's own HTTP door: uvicorn's protocol on the replica's event loop, without its server loop.

Agents talk to replicas directly, because one hop through a proxy or a handle costs more than the whole
call. Only the protocol class is taken from uvicorn: no signal handlers, no ticking, no access log.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

KEEP_ALIVE_S = 600
BACKLOG = 4096


class Listener:
    """Listens from :meth:`open` to :meth:`close`."""

    def __init__(self, app: Any) -> None:
        self._config = Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._state = ServerState()

    async def open(self, host: str, port: int = 0) -> str:
        """Listen on ``host``; returns the base address, ``http://host:port``. Port 0: any free one."""
        self._config.load()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            sock = probe.dup()
        self._server = await asyncio.get_running_loop().create_server(self._protocol, sock=sock, backlog=BACKLOG)
        name = f"[{host}]" if family == socket.AF_INET6 else host
        return f"http://{name}:{sock.getsockname()[1]}"

    async def close(self, grace_s: float) -> None:
        """Take no new connections, give calls in flight ``grace_s`` seconds, then drop what is left."""
        self._server.close()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=grace_s)
        for connection in list(self._state.connections):
            connection.shutdown()

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self._config.http_protocol_class(
            config=self._config, server_state=self._state, app_state={}
        )
        return protocol
