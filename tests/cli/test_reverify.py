"""What a run is verified with again: its own configuration, as words change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gym_ray.cli.main import main
from gym_ray.cli.reverify import configure
from gym_ray.collect.config import RunConfig
from gym_ray.collect.fingerprint import write_config
from gym_ray.collect.rundir import RunDir
from gym_ray.types.errors import UserError

MATH = {
    "server": "gym_ray.environments.math:Math",
    "options": {"boxed_only": False},
    "num_actors": 3,
    "judge": "strict",
}
PROMPT = {"server": "x:Y", "options": {"prompt": "Say ${this} in \\${that}: {field}"}}


def recorded(folder: Path, **envs: Any) -> RunDir:
    """A run of these environments."""
    run = RunDir.create(str(folder / "run"))
    judges = {"strict": {"base_url": "http://127.0.0.1:1/v1", "headers": {"Authorization": "hush"}, "name": "j"}}
    settings = {"run_dir": run.address, "envs": envs, "judges": judges, "tasks": {"path": "gone.jsonl"}}
    write_config(run, RunConfig.model_validate(settings).model_dump(mode="json"))
    return run


HEADERS = "judges.strict.headers.Authorization=again"


def test_it_is_the_runs_own_but_for_what_is_said(tmp_path: Path) -> None:
    run = recorded(tmp_path, math=MATH, odd=PROMPT)
    made = configure(run, [HEADERS, "envs.math.options.boxed_only=true", "collect.num_agents=2"])
    before = RunConfig.model_validate(yaml.safe_load(run.read("config.yaml")))
    assert (made.recorded, made.run_dir) == (run.address, f"{run.address}-reverified")
    assert made.envs["math"] == before.envs["math"].model_copy(update={"options": {"boxed_only": True}})
    assert made.envs["odd"] == before.envs["odd"], "a text is taken as it is"
    assert (made.collect.num_agents, made.tasks) == (2, before.tasks)
    assert made.judges["strict"].headers == {"Authorization": "again"}


def test_another_class_keeps_the_placement_and_has_its_own_options(tmp_path: Path) -> None:
    run = recorded(tmp_path, math=MATH)
    (tmp_path / "mine.py").write_text("from gym_ray.environments.math import Math\n\n\nclass Mine(Math):\n    pass\n")
    made = configure(run, [HEADERS, f"env={tmp_path}/mine.py:Mine"]).envs["math"]
    assert (made.server, made.options, made.num_actors) == (f"{tmp_path}/mine.py:Mine", {}, 3)
    shipped = configure(run, [HEADERS, "env=math", "env.num_actors=1"]).envs["math"]
    assert (shipped.server, shipped.options, shipped.num_actors) == (MATH["server"], {}, 1)


def test_each_has_a_directory_of_its_own(tmp_path: Path) -> None:
    run = recorded(tmp_path, math=MATH)
    Path(f"{run.address}-reverified").mkdir()
    assert configure(run, [HEADERS]).run_dir == f"{run.address}-reverified-2"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([HEADERS, "env=mcqa"], r"env=mcqa: the run has math, odd: say which of them, envs\.NAME\.server="),
        ([HEADERS, "model=openai"], "reverify asks no policy"),
        ([HEADERS, "envs.math.option.boxed_only=true"], "is no setting"),
    ],
)
def test_mistakes(tmp_path: Path, words: list[str], said: str) -> None:
    run = recorded(tmp_path, math=MATH, odd=PROMPT)
    with pytest.raises(UserError, match=said):
        configure(run, words)


def test_a_secret_that_is_needed_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged = {"server": "gym_ray.environments.equivalence_llm_judge:EquivalenceJudge", "judge": "strict"}
    run = recorded(tmp_path, judged=judged)
    assert main(["reverify", run.address]) == 2
    assert "judges.strict.headers.Authorization: a run's configuration is kept without" in capsys.readouterr().err


def test_a_run_without_a_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded(tmp_path, math={"server": MATH["server"]})
    assert main(["reverify", run.address]) == 2
    assert "has no journal any more" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["a", "b"], ["--fast"], ["a", "--changes"], ["a", "--changes", "few"]])
def test_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reverify", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
