"""Endpoints that cannot work are told before a run; those that may are not refused."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from aiohttp import web

from gym_ray.models.config import ModelConfig
from gym_ray.models.preflight import check_endpoint
from gym_ray.types.errors import UserError
from tests.support.endpoint import EndpointProcess


async def _looked_at(models: dict[str, Any], *, path: str = "/v1", **settings: Any) -> list[str]:
    """Notes about an endpoint that answers ``/models`` with ``models`` (keywords of a response)."""
    application, notes = web.Application(), list[str]()

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(**models) if "data" in models else web.Response(**models)

    application.router.add_get(f"{path}/models", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    config = ModelConfig(base_url=f"http://127.0.0.1:{port}{path}", name="mine", **settings)
    try:
        await asyncio.to_thread(check_endpoint, "model", config, notes.append)
    finally:
        await runner.cleanup()
    return notes


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_nobody_listens() -> None:
    config = ModelConfig(base_url=f"http://127.0.0.1:{_free_port()}/v1", connect_timeout_s=0.2)
    with pytest.raises(UserError, match=r"^model\.base_url: cannot connect to http.*: start the endpoint, or mend"):
        check_endpoint("model", config, print)


async def test_an_endpoint_that_comes_up_is_waited_for() -> None:
    notes, port = asyncio.Queue[str](), _free_port()
    loop, config = asyncio.get_running_loop(), ModelConfig(base_url=f"http://127.0.0.1:{port}/v1")

    def say(note: str) -> None:
        loop.call_soon_threadsafe(notes.put_nowait, note)

    looking = asyncio.create_task(asyncio.to_thread(check_endpoint, "model", config, say))
    note = await notes.get()
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await looking
    await runner.cleanup()
    assert "waiting up to 30 s for it" in note


def test_one_of_several_is_enough() -> None:
    notes: list[str] = []
    with EndpointProcess("tests.support.endpoint:echo") as base_url:
        dead = f"http://127.0.0.1:{_free_port()}/v1"
        check_endpoint("model", ModelConfig(base_url=[dead, base_url], connect_timeout_s=0.2), notes.append)
    assert any("cannot connect" in note for note in notes)


async def test_a_key_that_is_missing_or_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = {"status": 401, "text": '{"error": {"message": "bad key sk-secret-secret"}}'}
    with pytest.raises(UserError, match=r"^model\.api_key_env: name the variable .*HTTP 401"):
        await _looked_at(refusal)
    monkeypatch.setenv("MY_KEY", "sk-secret-secret")
    with pytest.raises(UserError, match=r"^model\.api_key_env: the key in MY_KEY is not accepted") as caught:
        await _looked_at(refusal, api_key_env="MY_KEY")
    assert "secret-secret" not in str(caught.value)


async def test_a_web_page_is_no_endpoint() -> None:
    with pytest.raises(UserError, match=r"^model\.base_url http://127.*a web page"):
        await _looked_at({"text": "<!doctype html><p>Sign in", "content_type": "text/html"})


async def test_what_may_work_is_a_note() -> None:
    assert await _looked_at({"data": {"data": [{"id": "mine"}]}}) == []
    (note,) = await _looked_at({"data": {"data": [{"id": "other"}]}})
    assert "lists no model 'mine' (model.name); it has other" in note
    (note,) = await _looked_at({"status": 404, "text": "no"}, path="")
    assert "does model.base_url lack /v1?" in note
    assert await _looked_at({"status": 404, "text": "no"}) == []
    assert await _looked_at({"status": 403, "text": "no listing with this key"}) == []
