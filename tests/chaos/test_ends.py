"""How runs end short: Ctrl-C, a full disk, a directory that cannot be written. Nothing finished is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.chaos.command import GROUP, TASKS, Run, check_kept
from tests.support.endpoint import EndpointProcess
from tests.support.runs import check_exactly_once

pytestmark = [pytest.mark.ray, pytest.mark.chaos]


def test_ctrl_c_lands_what_is_in_the_air_and_the_same_command_goes_on(tmp_path: Path) -> None:
    with EndpointProcess("tests.support.scripts:play", latency=0.3) as base_url:
        model = ["model=openai", f"model.base_url={base_url}", "model.name=scripted", "collect.in_flight=8"]
        with Run(tmp_path, *model) as run:
            run.wait_until_rolling(8)
            os.kill(run.pid, signal.SIGINT)
            assert run.process is not None
            assert run.process.wait(120) == 130
            log = run.log.read_text()
        assert "Traceback" not in log
        assert "gym-ray collect" in log, "it says how to go on"
        manifest = json.loads(run.directory.joinpath("manifest.json").read_text())
        durable = run.finished()
        assert 8 <= len(durable) < TASKS * GROUP
        assert manifest["complete"] is False
        with Run(tmp_path, *model) as run:
            run.finish()
            check_kept(run, durable)
    check_exactly_once(run.directory, TASKS, GROUP)
    assert json.loads(run.directory.joinpath("manifest.json").read_text())["complete"] is True


def test_a_full_disk_ends_the_run_in_one_line_and_room_lets_it_go_on(tmp_path: Path) -> None:
    disk = tmp_path / "run"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        with EndpointProcess("tests.support.scripts:play") as base_url:
            model = ["model=openai", f"model.base_url={base_url}", "model.name=scripted"]
            model.append("model.sampling={instructions_padding: " + "x" * 4000 + "}")
            with Run(tmp_path, *model) as run:
                assert run.process is not None
                code = run.process.wait(120)
            log = run.log.read_text()
            assert code in (1, 2), log[-3000:]
            assert "No space left on device" in log.splitlines()[-1], log[-3000:]
            subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
            durable = run.finished()
            with Run(tmp_path, *model) as run:
                run.finish()
                check_kept(run, durable)
        check_exactly_once(run.directory, TASKS, GROUP)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
