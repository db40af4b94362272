"""``gym-ray serve`` as a process: it answers at its address, and Ctrl-C ends it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UP_S, DOWN_S = 180, 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, body: object = None) -> dict[str, object]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        answer: dict[str, object] = json.load(reply)
    return answer


@pytest.mark.ray
def test_it_serves_until_ctrl_c(tmp_path: Path) -> None:
    port = free_port()
    engine = "tests.models.serve.scripted:ScriptedModel"
    words = ["model=tiny", "model.name=parrot", f"model.serve.engine={engine}", f"model.serve.http_port={port}"]
    # A RAY_ADDRESS of an outer test run would make it join that cluster.
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "gym_ray.cli.main", "serve", *words],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(UP_S, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{port}/v1"
        up = next((line for line in process.stdout if address in line), None)
        assert up == f"parrot answers at {address} (Ctrl-C ends it)\n", process.stderr and process.stderr.read()
        assert ask(f"{address}/models")["data"]
        reply = ask(f"{address}/responses", {"model": "parrot", "input": "hello"})
        assert "ok" in json.dumps(reply["output"])
        process.send_signal(signal.SIGINT)
        assert process.wait(DOWN_S) == 0
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
