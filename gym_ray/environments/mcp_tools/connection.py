"""One connection to an MCP server (a child process on stdio, or an address), by the `mcp` package.

That package wants a connection entered and left in one task, so each has a task of its own; calls come from others.
Invariant: every await has a deadline, and a connection that was opened is closed, which ends the child process.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TextIO, TypeVar

from gym_ray.resources.toolbox import error_text, text_of
from gym_ray.types.errors import UserError, describe

T = TypeVar("T")
CLOSE_S = 10.0
"""How long a server gets to go when its connection is closed."""
_ODD = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True)
class Target:
    """Where the server is: ``command`` (a program and its arguments) or ``url`` (streamable HTTP).

    ``env``: variables of the child, besides the few that it inherits. ``token_env``: the variable that holds the bearer
    token for ``url``; the token itself is never written anywhere.
    """

    command: tuple[str, ...] = ()
    url: str = ""
    env: dict[str, str] = field(default_factory=dict)
    token_env: str | None = None
    start_s: float = 60.0

    @property
    def shown(self) -> str:
        """For messages."""
        return self.url or " ".join(self.command)

    def headers(self) -> dict[str, str]:
        """What each HTTP request bears. Raises UserError when the variable is not set."""
        if self.token_env is None:
            return {}
        token = os.environ.get(self.token_env, "").strip()
        if not token:
            raise UserError(f"mcp_tools: token_env: the environment variable {self.token_env} is not set")
        return {"Authorization": f"Bearer {token}"}


class Connection:
    """See the module. Made on the event loop that uses it. ``quiet``: what a program writes to stderr is dropped."""

    def __init__(self, target: Target, *, quiet: bool = True) -> None:
        self._target, self._quiet, self._broken = target, quiet, False
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Any] = loop.create_future()
        self._over = asyncio.Event()
        self._task = loop.create_task(self._live())

    @property
    def alive(self) -> bool:
        """False once the connection has ended, or a call found nobody there."""
        return not self._broken and not self._task.done()

    async def list_tools(self) -> list[Any]:
        """The server's tools, all pages."""
        client = await self._client()
        found, cursor = [], None
        while True:
            async with asyncio.timeout(self._target.start_s):
                page = await client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if not cursor:
                return found

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """What a tool answers, as text; its own errors too. The caller has a deadline."""
        from mcp.shared.exceptions import MCPError
        from mcp_types import CONNECTION_CLOSED

        client = await self._client()
        try:
            result = await client.call_tool(name, arguments)
        except MCPError as error:
            self._broken = error.code == CONNECTION_CLOSED
            return error_text(str(error))
        except Exception:
            self._broken = True
            raise
        text = _text(result)
        return error_text(text) if result.is_error else text

    async def close(self) -> None:
        """End it. Idempotent, never raises."""
        self._over.set()
        await asyncio.wait([self._task], timeout=CLOSE_S)
        self._task.cancel()

    async def _client(self) -> Any:
        async with asyncio.timeout(self._target.start_s):
            return await asyncio.shield(self._ready)

    async def _live(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                self._ready.set_result(await self._entered(stack))
                await self._over.wait()
        except Exception as error:
            if not self._ready.done():
                self._ready.set_exception(ConnectionError(f"{self._target.shown}: {describe(_innermost(error))}"))

    async def _entered(self, stack: AsyncExitStack) -> Any:
        from mcp import Client, StdioServerParameters
        from mcp.client.stdio import stdio_client

        if self._target.command:
            program, *arguments = self._target.command
            errors = stack.enter_context(_nowhere()) if self._quiet else sys.stderr
            parameters = StdioServerParameters(command=program, args=arguments, env=self._target.env)
            server: Any = stdio_client(parameters, errlog=errors)
        else:
            import httpx2
            from mcp.client.streamable_http import streamable_http_client

            http = await stack.enter_async_context(httpx2.AsyncClient(headers=self._target.headers(), timeout=None))
            server = streamable_http_client(self._target.url, http_client=http)
        return await stack.enter_async_context(Client(server))


def tools_of(target: Target) -> list[Any]:
    """The server's tools, read over a connection of its own; may be called from anywhere, also on an event loop.

    Raises:
        UserError: the package `mcp` is missing, or the server does not answer.
    """

    async def ask() -> list[Any]:
        connection = Connection(target, quiet=False)
        try:
            return await connection.list_tools()
        finally:
            await connection.close()

    try:
        return _elsewhere(lambda: asyncio.run(ask()))
    except UserError:
        raise
    except ImportError:
        raise UserError("mcp_tools needs the package `mcp`: pip install 'gym-ray[mcp]'") from None
    except Exception as error:
        raise UserError(f"mcp_tools: no tools from {target.shown}: {describe(error)}") from None


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def public_name(name: str) -> str:
    """A tool's name as models may write it."""
    return _ODD.sub("_", name)[:64]


def _text(result: Any) -> str:
    parts = [part.text if part.type == "text" else f"[{part.type}]" for part in result.content]
    return "\n".join(parts) if parts else text_of(result.structured_content)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return error


def _elsewhere(work: Callable[[], T]) -> T:
    """``work()`` in a thread, because this one may have an event loop that runs."""
    ends: list[T | BaseException] = []

    def run() -> None:
        try:
            ends.append(work())
        except BaseException as error:
            ends.append(error)

    thread = threading.Thread(target=run, name="mcp-tools", daemon=True)
    thread.start()
    thread.join()
    if isinstance(ends[0], BaseException):
        raise ends[0]
    return ends[0]
