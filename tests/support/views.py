"""A run's live view, answering at a real socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uvicorn import Config, Server

from gym_ray.runs.report.texts import TokenTexts
from gym_ray.runs.view.desk import Desk
from gym_ray.runs.view.server import application
from tests.support.shown_runs import WEIGHTS


@contextmanager
def viewed(address: str) -> Iterator[str]:
    """The URL of a view of the run."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(Config(application(Desk(address, TokenTexts(Path(WEIGHTS)))), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
