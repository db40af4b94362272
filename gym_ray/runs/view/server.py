"""The page of a run over HTTP, and the questions that it asks. Read only.

``GET /`` the page; ``/api/status``, ``/api/overview``, ``/api/rollouts``, ``/api/rollouts/TASK/INDEX`` as JSON.

Invariants: answers carry the page's content security policy and are not stored. Who does not call the server by one
of its own names is refused, so that no foreign web page reaches a loopback server under a name of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gym_ray.runs.report.page import Page, live_page
from gym_ray.runs.view.desk import Desk
from gym_ray.runs.view.query import Filter
from gym_ray.types.errors import UserError

ANSWER_S = 60.0
"""Longest that one question may take."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_PAGE_ROWS = 50

Handler = Callable[[Request], Awaitable[Response]]


def application(desk: Desk, names: Iterable[str] = LOOPBACK) -> Starlette:
    """The ASGI application. ``names``: host names that it answers to; empty: any."""
    page, allowed = live_page(), frozenset(names)

    async def show(request: Request) -> Response:
        return Response(page.html, media_type="text/html; charset=utf-8")

    async def status(request: Request) -> Response:
        return _json(desk.status())

    async def overview(request: Request) -> Response:
        return _json(desk.overview())

    routes: dict[str, Handler] = {
        "/": show,
        "/api/status": status,
        "/api/overview": overview,
        "/api/rollouts": partial(_rollouts, desk),
        "/api/rollouts/{task:int}/{index:int}": partial(_rollout, desk),
    }

    @contextlib.asynccontextmanager
    async def following(app: Starlette) -> AsyncIterator[None]:
        desk.start()
        yield
        desk.close()

    guarded = [Route(path, _guarded(handler, page, allowed), methods=["GET"]) for path, handler in routes.items()]
    return Starlette(routes=guarded, lifespan=following)


async def _rollouts(desk: Desk, request: Request) -> Response:
    given = request.query_params
    wanted = Filter.parse(given)
    begin, limit = _whole(given.get("offset"), 0), _whole(given.get("limit"), _PAGE_ROWS)
    if text := given.get("text", ""):
        return _json(await _apart(desk.search, wanted, text, begin, limit))
    return _json(await _apart(desk.page, wanted, begin, limit))


async def _rollout(desk: Desk, request: Request) -> Response:
    task, index = request.path_params["task"], request.path_params["index"]
    found = await _apart(desk.detail, task, index)
    return _json({"error": f"no rollout {index} of task {task}"}, 404) if found is None else _json(found)


async def _apart(work: Callable[..., Any], *given: Any) -> Any:
    """``work(*given)`` in a thread."""
    return await asyncio.wait_for(asyncio.to_thread(work, *given), ANSWER_S)


def _whole(text: str | None, otherwise: int) -> int:
    if not text:
        return otherwise
    if not text.isdecimal():
        raise UserError(f"offset and limit are whole numbers, not {text!r}")
    return int(text)


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _guarded(handler: Handler, page: Page, names: frozenset[str]) -> Handler:
    async def guarded(request: Request) -> Response:
        host = request.headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if names and name not in names:
            response = _json({"error": "this server goes by another name"}, 421)
        else:
            response = await _answered(handler, request)
        response.headers.update(page.headers)
        return response

    return guarded


async def _answered(handler: Handler, request: Request) -> Response:
    try:
        return await handler(request)
    except UserError as error:
        return _json({"error": str(error)}, 400)
    except TimeoutError:
        return _json({"error": f"no answer within {ANSWER_S:g} s"}, 503)
