"""TRL's own GRPOTrainer takes steps on our rollouts: real vLLM on Ray Serve, real environments, real tools.

Needs ``trl`` and ``datasets``: ``scripts/test_trainers``.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import orjson
import pytest
import torch
import yaml

from gym_ray.collect.config import RunConfig, TasksConfig
from gym_ray.collect.hosts import APP
from gym_ray.environments.catalog import generator
from gym_ray.integrations.trl import TrlRollouts
from gym_ray.models import tiny
from gym_ray.types.errors import UserError

pytestmark = [pytest.mark.integrations, pytest.mark.ray, pytest.mark.vllm, pytest.mark.usefixtures("ray_cluster")]
trl = pytest.importorskip("trl")
ROOT = Path(__file__).parents[2]
WEIGHTS = str(Path(tiny.__file__).parent / "weights")
TASKS, GENERATIONS, STEPS = 4, 4, 2


def config(folder: Path) -> RunConfig:
    """Four tasks each of an environment with tools and one without."""
    envs = {}
    for name in ("math", "workplace_easy"):
        path = folder / f"{name}.jsonl"
        rows = generator(name.removesuffix("_easy"))(TASKS, 3)
        path.write_bytes(b"".join(orjson.dumps(row | {"environment": name}) + b"\n" for row in rows))
        envs[name] = yaml.safe_load((ROOT / "conf" / "env" / f"{name}.yaml").read_text()) | {"tasks": str(path)}
    model = yaml.safe_load((ROOT / "conf" / "model" / "tiny.yaml").read_text())
    return RunConfig.model_validate(
        {"run_dir": str(folder / "run"), "envs": envs, "model": model, "collect": {"agent_cpus": 0.1}}
    )


class Noted(TrlRollouts):
    """Keeps what the trainer was given."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.given: list[tuple[int, dict[str, Any]]] = []

    def __call__(self, prompts: Any, trainer: Any) -> dict[str, Any]:
        fields = super().__call__(prompts, trainer)
        self.given.append((len(prompts), fields))
        return fields


def trainer_of(rollouts: TrlRollouts, folder: Path, **changes: Any) -> Any:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    arguments = {
        "output_dir": str(folder),
        "per_device_train_batch_size": TASKS * GENERATIONS,
        "num_generations": GENERATIONS,
        "max_steps": STEPS,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
    }
    return trl.GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32),
        args=trl.GRPOConfig(**arguments | changes),
        train_dataset=rollouts.dataset(),
        processing_class=AutoTokenizer.from_pretrained(WEIGHTS),
        rollout_func=rollouts,
        reward_funcs=rollouts.reward,
    )


def recorded_against_computed(fields: dict[str, Any]) -> torch.Tensor:
    """How far the engine's log-probabilities are from those of the weights it had, per sampled token."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32)
    apart = []
    columns = (fields[name] for name in ("prompt_ids", "completion_ids", "logprobs", "env_mask"))
    for prompt, completion, recorded, mask in zip(*columns, strict=True):
        with torch.no_grad():
            every = torch.log_softmax(model(torch.tensor([prompt + completion])).logits[0], -1)
        computed = every[len(prompt) - 1 : -1].gather(1, torch.tensor(completion)[:, None])[:, 0]
        apart.append((computed - torch.tensor(recorded)).abs()[torch.tensor(mask) == 1])
    return torch.cat(apart)


def test_grpo_trainer_takes_steps_on_our_rollouts(tmp_path: Path) -> None:
    from gym_ray.models.serve.control import ModelControl

    with Noted(config(tmp_path)) as rollouts:
        trainer = trainer_of(rollouts, tmp_path)
        before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
        trainer.train()
        assert ModelControl(APP).version() == STEPS, "the model got the weights of each step"

    assert [prompts for prompts, _ in rollouts.given] == [TASKS * GENERATIONS] * STEPS
    for _, fields in rollouts.given:
        assert {len(column) for column in fields.values()} == {TASKS * GENERATIONS}
    first = rollouts.given[0][1]
    assert recorded_against_computed(first).median() < 0.01, "engine and trainer speak of the same tokens"
    masks = [mask for _, fields in rollouts.given for mask in fields["env_mask"]]
    assert any(0 in mask for mask in masks), "what tools said is not learnt"
    assert all(mask[0] == 1 for mask in masks if 1 in mask)
    logged = [line["reward"] for line in trainer.state.log_history if "reward" in line]
    assert logged == pytest.approx([fmean(fields["reward"]) for _, fields in rollouts.given], abs=1e-4)
    changed = [name for name, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed


def test_what_cannot_work_is_said_at_once(tmp_path: Path) -> None:
    rollouts = TrlRollouts(config(tmp_path))
    with pytest.raises(UserError, match="temperature"):
        rollouts([], trainer_of(rollouts, tmp_path, temperature=0.5))
    with pytest.raises(UserError, match="a prompt of no task"):
        rollouts._task(b"[]")
    twice = tmp_path / "twice.jsonl"
    row = {"environment": "math", "expected_answer": "3", "responses_create_params": {"input": "1 + 1?"}}
    twice.write_bytes(orjson.dumps(row | {"id": 1}) + b"\n" + orjson.dumps(row | {"id": 2}) + b"\n")
    with pytest.raises(UserError, match="same prompt"):
        rollouts.dataset(TasksConfig(path=str(twice)))
