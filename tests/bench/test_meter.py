"""The meter counts real processes that burn a known amount of CPU, also those that end, fork or hide."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

BURN = """
import os, sys, time
def burn(seconds):
    while time.process_time() < seconds:
        sum(range(1000))
"""
"""``burn(s)``: use ``s`` seconds of CPU, counted by the kernel's own clock of that process."""


def metered(script: str, timeout: float = 60) -> dict[str, float]:
    """CPU seconds by label while ``script`` runs, metered by a process of its own (as the benchmark is)."""
    program = f"""
import json, subprocess, sys
from benchmark.meter import Meter, adopt_orphans, reap_orphans
adopt_orphans()
ignored = subprocess.Popen([sys.executable, "-c", {BURN + "burn(0.5)"!r}])
with Meter(lambda command: command.rpartition("#")[2].strip(), frozenset({{ignored.pid}})).running() as usage:
    subprocess.run([sys.executable, "-c", {BURN + textwrap.dedent(script)!r} + "#main"], check=True)
ignored.wait()
reap_orphans(frozenset())
print(json.dumps(usage.cpu))
"""
    import json

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=timeout, check=True)
    usage: dict[str, float] = json.loads(done.stdout)
    return usage


@pytest.fixture(autouse=True)
def _on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", next(path for path in sys.path if path.endswith("/scripts")))


def test_a_child_is_counted() -> None:
    assert sum(metered("burn(1.0)").values()) == pytest.approx(1.0, rel=0.2)


def test_a_child_that_ended_is_still_counted_once() -> None:
    script = f"""
        import subprocess
        for _ in range(4):
            subprocess.run([sys.executable, "-S", "-c", {BURN + "burn(0.25)"!r}], check=True)
        time.sleep(0.5)
    """
    assert sum(metered(script).values()) == pytest.approx(1.1, rel=0.2)


def test_children_too_short_to_be_seen_are_counted(tmp_path: Path) -> None:
    script = f"""
        import resource
        for _ in range(30):
            if (pid := os.fork()) == 0:
                burn(time.process_time() + 0.03)
                os._exit(0)
            os.waitpid(pid, 0)
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        open({str(tmp_path / "used")!r}, "w").write(str(sum(one.ru_utime + one.ru_stime for one in used)))
    """
    found = sum(metered(script).values())
    used = float((tmp_path / "used").read_text())  # Forks cost more on a busy machine: the kernel knows how much.
    assert used > 0.9
    assert found == pytest.approx(used, rel=0.15)


def test_a_daemon_cannot_leave_the_tree() -> None:
    script = """
        ended, end = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                burn(1.0)
            os._exit(0)
        os.close(end)
        os.read(ended, 1)  # The end of the pipe comes when the last process that holds it has ended.
        time.sleep(0.3)
    """
    assert sum(metered(script).values()) == pytest.approx(1.05, rel=0.2)


def test_a_parent_that_ignores_its_children_loses_little() -> None:
    script = """
        import signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        ended, end = os.pipe()
        if os.fork() == 0:
            burn(1.0)
            os._exit(0)
        os.close(end)
        os.read(ended, 1)
        time.sleep(0.3)
    """
    assert sum(metered(script).values()) == pytest.approx(1.05, rel=0.2)


def test_the_label_says_who_used_it() -> None:
    assert metered("burn(0.5)")["main"] == pytest.approx(0.5, rel=0.2)
