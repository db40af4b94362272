"""A run directory: claimed once, gone on with when it fits, written whole or not at all."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from gym_ray.collect.config import RunConfig
from gym_ray.collect.fingerprint import check_resumable, redact, write_config
from gym_ray.collect.owner import owned
from gym_ray.collect.part import Part
from gym_ray.collect.rundir import CONFIG, MANIFEST, RunDir
from gym_ray.types.errors import UserError


def settle_config(run: RunDir, config: RunConfig) -> bool:
    """Claim ``run`` as a collection does: check, then write. True when there is something to go on with."""
    settings = config.model_dump(mode="json")
    resumed = check_resumable(run, settings)
    write_config(run, settings)
    return resumed


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(str(tmp_path / "run"))


def config(run: RunDir, **changes: Any) -> RunConfig:
    envs = changes.pop("envs", {"adder": {"server": "package.module:Adder"}})
    return RunConfig(run_dir=run.address, envs=envs, **changes)


def test_a_run_directory_is_a_value(run: RunDir) -> None:
    run.write("metrics.json", b"{}")
    again = pickle.loads(pickle.dumps(run))
    assert again.read("metrics.json") == b"{}"
    assert again.local


def test_a_file_appears_whole_or_not_at_all(run: RunDir) -> None:
    run.write("rollouts/part", b"old")

    def fail() -> None:
        with run.create_file("rollouts/part") as sink:
            sink.write(b"half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail()
    assert run.read("rollouts/part") == b"old"
    assert run.names("rollouts") == ["part"]


def test_somebody_elses_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        RunDir.create(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("address", "said"),
    [("/proc/nothing/here", "cannot write"), ("nosuch://bucket/run", "cannot reach"), ("{file}/run", "cannot write")],
)
def test_an_impossible_place_is_refused_in_one_line(tmp_path: Path, address: str, said: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=said) as raised:
        RunDir.create(address.format(file=tmp_path / "file"))
    assert "\n" not in str(raised.value)


def test_only_runs_can_be_opened(tmp_path: Path, run: RunDir) -> None:
    with pytest.raises(UserError, match="no run directory"):
        RunDir.open(str(tmp_path))
    settle_config(run, config(run))
    assert RunDir.open(run.address).exists(CONFIG)


def test_the_same_configuration_goes_on(run: RunDir) -> None:
    assert settle_config(run, config(run)) is False
    assert settle_config(run, config(run)) is True


def test_what_only_changes_the_pace_may_differ(run: RunDir) -> None:
    settle_config(run, config(run))
    faster = config(
        run,
        collect={"num_agents": 8, "in_flight": 9, "rollouts_per_task": 4, "formats": ["parquet"], "fsync": True},
        model={"base_url": "http://elsewhere/v1", "retry": {"max_attempts": 9}, "serve": {"num_replicas": 3}},
        envs={
            "adder": {"server": "package.module:Adder", "num_actors": 3, "labels": {"a": "b"}, "tool_timeout_s": 1},
            "another": {"server": "package.module:Another", "options": {"x": 1}},
        },
    )
    assert settle_config(run, faster) is True
    assert yaml.safe_load(run.read(CONFIG))["collect"]["rollouts_per_task"] == 4


def test_what_changes_the_rollouts_is_named_with_both_values(run: RunDir) -> None:
    settle_config(run, config(run, collect={"rollouts_per_task": 4}))
    other = config(
        run,
        collect={"rollouts_per_task": 2},
        model={"name": "bigger", "sampling": {"temperature": 0.1}},
        agent={"max_turns": 3},
        envs={"adder": {"server": "package.module:Adder", "options": {"strict": True}}},
    )
    with pytest.raises(UserError) as raised:
        settle_config(run, other)
    head, *lines = str(raised.value).splitlines()
    assert run.address in head
    assert lines == [
        "  agent.max_turns: 50 there, 3 now",
        "  collect.rollouts_per_task: 4 there, 2 now",
        "  envs.adder.options.strict: (unset) there, True now",
        "  model.name: default there, bigger now",
        "  model.sampling.temperature: (unset) there, 0.1 now",
    ]
    assert yaml.safe_load(run.read(CONFIG))["collect"]["rollouts_per_task"] == 4


def test_an_environment_may_not_go_away(run: RunDir) -> None:
    settle_config(run, config(run))
    with pytest.raises(UserError, match=r"envs\.adder\.server"):
        settle_config(run, config(run, envs={}))


def test_resume_can_be_forbidden(run: RunDir) -> None:
    settle_config(run, config(run))
    with pytest.raises(UserError, match=r"collect\.resume=false"):
        settle_config(run, config(run, collect={"resume": False}))


def test_a_finished_run_without_journal_is_read_only(run: RunDir) -> None:
    settle_config(run, config(run))
    run.write(MANIFEST, b"{}")
    with pytest.raises(UserError, match="journal is gone"):
        settle_config(run, config(run))


def test_secrets_are_never_written(run: RunDir) -> None:
    model = {
        "headers": {"Authorization": "Bearer s3cret", "X-Api-Key": "s3cret", "X-Team": "blue"},
        "base_url": "https://me:s3cret@host/v1",
        "serve": {"env": {"HF_TOKEN": "s3cret", "OMP_NUM_THREADS": "2"}},
        "api_key_env": "OPENAI_API_KEY",
    }
    settle_config(run, config(run, model=model, agent={"max_tokens": 7}))
    text = run.read(CONFIG).decode()
    assert "s3cret" not in text
    for kept in ("blue", "OMP_NUM_THREADS: '2'", "OPENAI_API_KEY", "max_tokens: 7", "https://<redacted>@host/v1"):
        assert kept in text
    assert settle_config(run, config(run, model=model, agent={"max_tokens": 7})) is True


def test_redaction_leaves_the_rest_alone() -> None:
    plain = {"model": {"token_ids": "auto", "max_tokens": 3, "list": [1, None, "x"]}, "options": {"answer_key": "A"}}
    assert redact(plain) == plain


def test_plain_dictionaries_do_too(run: RunDir) -> None:
    write_config(run, {"collect": {"resume": True}, "model": {"name": "a"}})
    assert check_resumable(run, {"collect": {"resume": True}, "model": {"name": "a", "extra_body": None}})


def test_a_judge_may_be_served_elsewhere_but_is_the_same_one(run: RunDir) -> None:
    judge = {"name": "j", "base_url": "http://a/v1", "retry": {"max_attempts": 2}}
    settle_config(run, config(run, judges={"default": judge}))
    moved = {**judge, "base_url": "http://b/v1", "retry": {"max_attempts": 9}}
    assert settle_config(run, config(run, judges={"default": moved, "further": judge}))
    with pytest.raises(UserError, match=r"judges\.default\.name: j there, k now"):
        settle_config(run, config(run, judges={"default": {**judge, "name": "k"}, "further": judge}))


def test_two_cannot_work_on_one_run(run: RunDir) -> None:
    first, other = Part(1, 2), Part(2, 2)
    told = rf"process {os.getpid()} on .* works on it: wait for it"
    with owned(run, first), owned(run, other), pytest.raises(UserError, match=told), owned(run, first):
        pass
    with owned(run, first):
        pass
