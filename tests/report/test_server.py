"""The live view over real sockets."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.shown_runs import LiveRun, shown_rollouts, shown_run
from tests.support.views import viewed


def ask(url: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as reply:
            return reply.status, reply.read(), dict(reply.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def value(url: str) -> Any:
    status, body, _ = ask(url)
    assert status == 200, body
    return orjson.loads(body)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with viewed(shown_run(tmp_path_factory.mktemp("view") / "run")) as found:
        yield found


def test_pages_and_single_rollouts(url: str) -> None:
    page = value(f"{url}/api/rollouts?outcome=scored&sort=reward&descending=1&offset=5&limit=3")
    assert (page["total"], page["offset"], len(page["rows"])) == (32, 5, 3)
    row = page["rows"][0]
    detail = value(f"{url}/api/rollouts/{row['task']}/{row['index']}")
    assert {name: detail[name] for name in row} == row
    assert detail["segments"][0]["ids"] == list(range(1, 10))
    assert value(f"{url}/api/rollouts?text=%3Cscript%3E")["searched"] == 36


def test_every_answer_carries_the_policy(url: str) -> None:
    for path in ("/", "/api/status", "/api/rollouts/99/99", "/api/rollouts?sort=mood"):
        _, _, headers = ask(url + path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_what_is_wrong_is_said(url: str) -> None:
    assert ask(f"{url}/api/rollouts/99/99")[:2] == (404, b'{"error":"no rollout 99 of task 99"}')
    assert ask(f"{url}/api/rollouts?offset=x")[0] == 400
    assert ask(f"{url}/api/rollouts?reward_min=much")[0] == 400
    assert ask(f"{url}/etc/passwd")[0] == 404


def test_a_foreign_name_for_this_server_is_refused(url: str) -> None:
    assert ask(f"{url}/api/status", Host="evil.example")[0] == 421
    assert ask(f"{url}/api/status", Host="localhost:1")[0] == 200


def test_a_run_in_progress_shows_what_comes(tmp_path: Path) -> None:
    live, rollouts = LiveRun(tmp_path / "run"), shown_rollouts()
    live.finish(*rollouts[:4])
    with viewed(live.address) as found:
        assert value(f"{found}/api/status")["found"] == 4
        live.finish(*rollouts[4:])
        until = time.monotonic() + 60
        while value(f"{found}/api/status")["summarised"] < 36 and time.monotonic() < until:
            time.sleep(0.1)
        overview = value(f"{found}/api/overview")
        assert overview["rollouts"] == {"expected": 36, "found": 36}
        assert value(f"{found}/api/rollouts?sort=newest")["rows"][0]["task"] == 8


def test_the_command_serves_on_loopback_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gym_ray.cli.main", "view", shown_run(tmp_path / "run"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = process.stdout.readline().split()[0]
            assert found.startswith("http://127.0.0.1:")
            assert value(f"{found}/api/status")["found"] == 36
            process.send_signal(signal.SIGINT)
            assert process.wait(30) in (0, 130)
        finally:
            process.kill()
