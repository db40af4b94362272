"""``gym-ray collect`` around the driver: exit codes, what it prints, run directory names."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gym_ray.cli.collect import default_run_dir
from gym_ray.cli.main import main
from gym_ray.collect import driver
from gym_ray.collect.config import RunConfig
from gym_ray.collect.output.finalize import Summary
from gym_ray.collect.output.metrics import EnvironmentTotals
from gym_ray.types.errors import UserError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WORDS = ["collect", "env=mcqa", "run_dir=my run", "collect.max_failed_fraction=0.1"]


def summary(failed: int = 0, *, interrupted: bool = False) -> Summary:
    totals = EnvironmentTotals(failure_kinds=Counter(agent_timeout=failed))
    return Summary("my run", 20, 20 - failed, 0, failed, 0, 0, {"mcqa": totals.summary()}, [], interrupted=interrupted)


def collect_as(monkeypatch: pytest.MonkeyPatch, outcome: Summary | BaseException) -> list[RunConfig]:
    """Puts a driver in place that ends at once with ``outcome``; returns the configurations it is given."""
    given: list[RunConfig] = []

    def collect(config: RunConfig) -> Summary:
        given.append(config)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(driver, "collect", collect)
    return given


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        (summary(), 0, ""),
        (summary(failed=2), 0, ""),
        (summary(failed=3), 3, "15.0% of the rollouts failed, more than collect.max_failed_fraction=0.1"),
        (summary(failed=3, interrupted=True), 130, "to go on: gym-ray collect env=mcqa 'run_dir=my run'"),
        (KeyboardInterrupt(), 130, "to go on: gym-ray collect env=mcqa 'run_dir=my run'"),
        (UserError("the disk is full"), 2, "gym-ray: the disk is full"),
        (RuntimeError("a bug"), 1, "RuntimeError: a bug"),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: Summary | BaseException,
    code: int,
    message: str,
) -> None:
    given = collect_as(monkeypatch, outcome)
    assert main(WORDS) == code
    assert message in capsys.readouterr().err
    assert (given[0].run_dir, given[0].model.name) == ("my run", "tiny")


def test_an_environment_may_have_a_budget_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few, many = ({**EnvironmentTotals().summary(), "scored": 20 - n, "failed": n} for n in (1, 2))
    whole = Summary("my run", 40, 37, 0, 3, 0, 0, {"mcqa": few, "math": many}, [])
    collect_as(monkeypatch, whole)
    words = ["collect", "env=mcqa,math", "run_dir=my run", "collect.max_failed_fraction=0.1"]
    assert main([*words, "env.max_failed_fraction=0.1"]) == 0
    assert main([*words, "env.max_failed_fraction=0.06"]) == 3
    error = capsys.readouterr().err
    assert "10.0% of the rollouts of math failed, more than envs.math.max_failed_fraction=0.06" in error
    assert "of mcqa" not in error


def test_it_ends_with_a_table_and_where_the_run_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    collect_as(monkeypatch, summary(failed=2))
    main(WORDS)
    printed = capsys.readouterr().out
    for expected in ("reward", "agent_timeout", "20 planned = 18 scored", "gym-ray runs show my run"):
        assert expected in printed


def test_an_unnamed_run_gets_a_directory_that_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = collect_as(monkeypatch, summary(interrupted=True))
    main(["collect", "env=mcqa"])
    command = re.search(r"to go on: gym-ray (.*)", capsys.readouterr().err)
    assert command
    main(command[1].split())
    assert given[0] == given[1]
    assert re.fullmatch(r"runs/\d{8}-\d{6}-mcqa-tiny", given[0].run_dir)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["env=mcqa,math"], "mcqa-math-tiny"),
        (["env=mcqa", "model.name=Qwen/Qwen3 8B"], "mcqa-Qwen3-8B"),
        (["env=" + ",".join(f"m.m:E{n}" for n in range(5))], "5-envs-tiny"),
        (["env=taken"], "taken-tiny-2"),
    ],
)
def test_names_of_run_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/20260102-030405-taken-tiny").mkdir(parents=True)
    (tmp_path / "conf/env").mkdir(parents=True)
    (tmp_path / "conf/env/taken.yaml").write_text("server: a.b:C\n")
    assert default_run_dir(["--config-dir=conf", *words], NOW) == f"runs/20260102-030405-{name}"
