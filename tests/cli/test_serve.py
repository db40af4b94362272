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


def serve(folder: Path, *words: str) -> subprocess.Popen[str]:
    engine = "tests.models.serve.scripted:ScriptedModel"
    # A RAY_ADDRESS of an outer test run would make it join that cluster.
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        [sys.executable, "-m", "gym_ray.cli.main", "serve", "model=tiny", f"model.serve.engine={engine}", *words],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_cannot_work_is_one_line_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for word, said in [
            (f"model.serve.http_port={port}", f"model.serve.http_port={port}: cannot listen at 127.0.0.1"),
            ("model.serve.api_key_env=NO_SUCH_KEY", "the environment variable NO_SUCH_KEY is not set"),
        ]:
            process = serve(tmp_path, word)
            _, errors = process.communicate(timeout=UP_S)
            assert process.returncode == 2
            assert said in errors
            assert errors.count("\n") == 1


@pytest.mark.ray
def test_it_serves_until_ctrl_c(tmp_path: Path) -> None:
    port = free_port()
    process = serve(tmp_path, "model.name=parrot", f"model.serve.http_port={port}")
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
