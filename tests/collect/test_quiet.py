"""Standard error while a run goes on: chatter to the log, the run's own words to the terminal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gym_ray.collect.quiet import LOG_FILE, quiet
from gym_ray.collect.rundir import RunDir


def chatter_and_fail(run: RunDir) -> None:
    with quiet(run) as terminal:
        os.write(2, b"from C++\n")
        print("3 of 4 rollouts", file=terminal)
        raise ValueError("raises through")


def test_chatter_goes_to_the_log_and_what_comes_after_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = RunDir.create(str(tmp_path / "run"))
    with pytest.raises(ValueError, match="raises through"):
        chatter_and_fail(run)
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "3 of 4 rollouts\nafter\n"
    assert "from C++\n" in Path(run.path(LOG_FILE)).read_text()
