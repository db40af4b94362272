"""Notes of what a hosted server's own libraries failed to reach: programs, sandboxes, addresses.

Each watcher wraps a place that all such attempts go through, once per process, and changes nothing but the notes of
the session at work (:func:`~gym_ray.integrations.nemo_gym.outside.note`).
"""

from __future__ import annotations

import functools
import http.client
import inspect
import subprocess
from collections.abc import Callable
from typing import Any

from gym_ray.integrations.nemo_gym.outside import note
from gym_ray.types.errors import describe


def watch_all() -> None:
    """All of them."""
    watch_programs()
    watch_sandboxes()
    watch_connections()


def watch_programs() -> None:
    """Note every program that is not installed (``subprocess`` is below asyncio's too)."""
    _watch(subprocess.Popen, "__init__", (FileNotFoundError, PermissionError), "provider_unavailable: no program")


def watch_sandboxes() -> None:
    """Note every sandbox that could not be had. NeMo Gym 0.5 and later have ``nemo_gym.sandbox``."""
    try:
        from nemo_gym import sandbox
    except ImportError:
        return
    for name in ("AsyncSandbox", "Sandbox"):
        for method in ("__init__", "start"):
            if hasattr(owner := getattr(sandbox, name, None), method):
                _watch(owner, method, (Exception,), "provider_unavailable: sandbox")


def watch_connections() -> None:
    """Note every connection that the HTTP clients of servers could not make (``http.client`` is below urllib)."""
    import aiohttp
    import httpx
    import requests

    errors = (aiohttp.ClientConnectionError, httpx.TransportError, requests.ConnectionError)
    for owner, method in (
        (aiohttp.ClientSession, "_request"),
        (httpx.AsyncClient, "send"),
        (httpx.Client, "send"),
        (requests.Session, "send"),
    ):
        _watch(owner, method, errors, "provider_unavailable: no connection")
    _watch(http.client.HTTPConnection, "connect", (OSError,), "provider_unavailable: no connection")


def _watch(owner: Any, name: str, errors: tuple[type[Exception], ...], what: str) -> None:
    inner = getattr(owner, name)
    if getattr(inner, "__gym_ray_watched__", False):
        return

    def noted(error: Exception) -> None:
        note(f"{what}: {describe(error)}")

    watcher = (
        _watch_coroutine(inner, errors, noted)
        if inspect.iscoroutinefunction(inner)
        else _watch_plain(inner, errors, noted)
    )
    watcher.__gym_ray_watched__ = True
    setattr(owner, name, watcher)


def _watch_plain(inner: Any, errors: tuple[type[Exception], ...], noted: Callable[[Exception], None]) -> Any:
    @functools.wraps(inner)
    def plain(*args: Any, **kwargs: Any) -> Any:
        try:
            return inner(*args, **kwargs)
        except errors as error:
            noted(error)
            raise

    return plain


def _watch_coroutine(inner: Any, errors: tuple[type[Exception], ...], noted: Callable[[Exception], None]) -> Any:
    @functools.wraps(inner)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        try:
            return await inner(*args, **kwargs)
        except errors as error:
            noted(error)
            raise

    return coroutine
