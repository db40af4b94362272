"""Calls of an application without a server in between: bodies, cookies, start-up, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gym_ray.integrations.nemo_gym.asgi import Lifespan, call


async def count(request: Request) -> JSONResponse:
    """Counts calls in a cookie."""
    seen = int(request.cookies.get("seen", "0")) + 1
    answer = JSONResponse({"seen": seen, "body": await request.json(), "type": request.headers["content-type"]})
    answer.set_cookie("seen", str(seen))
    return answer


async def hang(request: Request) -> JSONResponse:
    request.app.state.hanging.set()
    try:
        await asyncio.sleep(3600)
    finally:
        request.app.state.cancelled = True
    return JSONResponse({})


def application(lifespan: Any = None) -> Starlette:
    routes = [Route("/count", count, methods=["POST"]), Route("/hang", hang, methods=["POST"])]
    return Starlette(routes=routes, lifespan=lifespan)


async def test_body_and_cookies_go_both_ways() -> None:
    app, cookies = application(), dict[str, str]()
    for seen in (1, 2):
        answer = await call(app, "/count", b'{"x": "\xc3\xa4"}', cookies)
        cookies.update(answer.cookies)
        assert answer.status == 200
        assert answer.body.decode() == f'{{"seen":{seen},"body":{{"x":"ä"}},"type":"application/json"}}'
    assert cookies == {"seen": "2"}


async def test_an_unknown_route_is_a_404() -> None:
    assert (await call(application(), "/none", b"{}", {})).status == 404


async def test_cancelling_the_call_ends_the_handler() -> None:
    app = application()
    app.state.hanging, app.state.cancelled = asyncio.Event(), False
    task = asyncio.create_task(call(app, "/hang", b"{}", {}))
    await asyncio.wait_for(app.state.hanging.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert app.state.cancelled


async def test_start_up_and_shutdown_run_once_and_in_order() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        seen.append("up")
        yield
        seen.append("down")

    life = Lifespan(application(lifespan))
    await life.start()
    assert seen == ["up"]
    await life.stop()
    await life.stop()
    assert seen == ["up", "down"]


async def test_an_application_that_cannot_start_says_why() -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise OSError("no sandbox here")
        yield

    with pytest.raises(RuntimeError, match="no sandbox here"):
        await Lifespan(application(lifespan)).start()
