"""What a training keeps for its next attempt, and which tasks it takes."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import torch

from gym_ray.collect.config import RunConfig, TasksConfig
from gym_ray.collect.rundir import RunDir
from gym_ray.integrations.grpo.curve import CURVE, held_out, mean_over_seeds, plot
from gym_ray.integrations.grpo.record import Record, check_settings, read_lines
from gym_ray.integrations.grpo.settings import RlConfig, RlSettings
from gym_ray.integrations.grpo.tasks import Curriculum, Task, read_curriculum
from gym_ray.types.errors import UserError


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(str(tmp_path / "run"))


def test_lines_after_the_checkpoint_are_done_again(run: RunDir) -> None:
    record = Record(run, 3)
    for step in range(6):
        record.add({"step": step, "reward": step / 10})
        if step == 4:
            record.save({"steps": step, "weights": torch.arange(3)})
    state = Record(run, 3).resume()
    assert state is not None
    assert state["weights"].tolist() == [0, 1, 2]
    again = Record(run, 3)
    again.resume()
    assert [line["step"] for line in read_lines(run, 3)] == [0, 1, 2, 3, 4]
    again.add({"step": 5, "reward": 1.0})
    assert [line.get("reward") for line in read_lines(run, 3)] == [0.0, 0.1, 0.2, 0.3, 0.4, 1.0]


def test_a_seed_killed_before_its_first_checkpoint_begins_anew(run: RunDir) -> None:
    Record(run, 0).add({"step": 0, "held_out": 0.5})
    record = Record(run, 0)
    assert record.resume() is None
    assert record.lines == []


def test_trained_weights_are_a_folder_that_models_are_loaded_from(run: RunDir, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    (source / "model-00001-of-00002.safetensors").write_bytes(b"old")
    (source / "model.safetensors.index.json").write_text("{}")
    Record(run, 0).finish({"a": torch.ones(2)}, str(source))
    folder = Path(run.address) / "training" / "seed-0" / "weights"
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert load_file(folder / "model.safetensors")["a"].tolist() == [1, 1]


def test_settings_that_decide_what_is_learnt_stay(run: RunDir) -> None:
    first = RlSettings()
    check_settings(run, first)
    longer = first.model_copy(update={"steps": 500, "seeds": [0, 1]})
    check_settings(run, longer.model_copy(update={"learner": first.learner.model_copy(update={"threads": 2})}))
    with pytest.raises(UserError, match=r"another rl\.learner\.rate"):
        check_settings(run, first.model_copy(update={"learner": first.learner.model_copy(update={"rate": 1.0})}))
    with pytest.raises(UserError, match=r"another rl\.groups_per_step"):
        check_settings(run, first.model_copy(update={"groups_per_step": 1}))


def tasks(*questions: str) -> list[Task]:
    return [Task("math", orjson.dumps({"id": q, "responses_create_params": {"input": q}})) for q in questions]


def test_each_pass_takes_every_task_once_in_an_order_of_its_own() -> None:
    plan = Curriculum(tasks(*"abcdefgh"), tasks("z"))
    steps = [plan.of_step(0, step, 4) for step in (1, 2, 3, 4)]
    first, second = steps[0] + steps[1], steps[2] + steps[3]
    assert sorted(first, key=lambda task: task.row) == sorted(second, key=lambda task: task.row) == plan.train
    assert first != second
    assert plan.of_step(0, 3, 4) == steps[2], "a step's tasks depend on nothing that happened"
    assert plan.of_step(1, 1, 4) != steps[0]


def test_what_is_held_out_is_not_trained_on(tmp_path: Path) -> None:
    for name, questions in (("train", "abc"), ("held", "bz")):
        rows = [
            {"id": f"{name}-{q}", "expected_answer": "1", "responses_create_params": {"input": q}} for q in questions
        ]
        (tmp_path / f"{name}.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    envs = {"math": {"server": "gym_ray.environments.math:Math", "tasks": str(tmp_path / "train.jsonl")}}
    config = RunConfig.model_validate({"run_dir": "unused", "envs": envs})
    plan = read_curriculum(config, TasksConfig(path=str(tmp_path / "held.jsonl")))
    assert [orjson.loads(task.row)["id"] for task in plan.train] == ["train-a", "train-c"]
    assert len(plan.held_out) == 2
    assert plan.left_out == 1


def test_the_curve_of_seeds_of_which_one_is_under_way(run: RunDir) -> None:
    lines = [{"step": 0, "held_out": 0.25}, {"step": 1, "reward": 0.5}, {"step": 2, "reward": 0.5, "held_out": 0.75}]
    assert held_out(lines) == {0: 0.25, 2: 0.75}
    assert mean_over_seeds([{0: 0.2, 2: 0.6}, {0: 0.4}]) == pytest.approx({0: 0.3})
    plot(run, {0: lines, 1: lines[:1], 2: []})
    assert run.read(CURVE).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        ({"kind": "openai"}, "model.kind=vllm"),
        ({"kind": "vllm", "sampling": {"temperature": 0}}, "temperature"),
        ({"kind": "vllm", "sampling": {"top_p": 0.9}}, "model.sampling.top_p=0.9"),
        ({"kind": "vllm", "sampling_overrides": {"top_k": 5}}, "model.sampling.top_k=5"),
    ],
)
def test_sampling_that_cannot_be_learnt_from_is_refused(model: dict[str, object], wrong: str) -> None:
    config = RlConfig.model_validate({"run_dir": "unused", "envs": {}, "model": model})
    with pytest.raises(UserError, match=wrong):
        config.check()
