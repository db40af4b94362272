"""Exports as the trainers' own loaders see them: Hugging Face's ``datasets``, TRL's trainers, VeRL's data sets.

Needs ``datasets`` and ``trl``, so it is marked ``integrations``; VeRL's part is skipped where ``verl`` is not there.
The models are the embedded tiny one: one step each, on the CPU.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from gym_ray.collect.config import RunConfig
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.collect.output.finalize import finalize
from gym_ray.collect.rundir import CONFIG, RunDir
from gym_ray.export.card import write_card
from gym_ray.export.formats import FORMATS
from gym_ray.export.pipeline import export
from gym_ray.export.settings import ExportSettings
from gym_ray.models import tiny
from gym_ray.types.items import assistant_message
from gym_ray.types.outcome import Reward
from tests.support.golden_runs import golden_config, write_golden_run
from tests.support.rollouts import make_rollout, put, two_turns

pytestmark = pytest.mark.integrations
datasets = pytest.importorskip("datasets")

WEIGHTS = str(Path(tiny.__file__).parent / "weights")
TASKS, EACH = 8, 2
ANSWERED = 2 * TASKS - 1
"""Golden answers to two environments' tasks; one of them says nothing."""
TOOLS = [
    {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
    {"type": "function", "name": "find", "parameters": {"type": "object", "properties": {"name": {"type": "string"}}}},
]


class Plan:
    rollouts = TASKS * EACH


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with tool calls whose last message tells good from bad."""
    made = RunDir.create(str(tmp_path_factory.mktemp("loaders") / "run"))
    made.write(CONFIG, yaml.safe_dump({"envs": {"adder": {}}, "model": {"name": "policy"}}).encode())
    journal = JournalWriter(made, "worker-0")
    for task in range(TASKS):
        for index in range(EACH):
            trajectory = two_turns()
            trajectory.items[-1] = assistant_message(f"It is {4 + index}, number {task}.")
            changes = {"trajectory": trajectory, "reward": Reward(1.0 - index), "params": {"tools": TOOLS}}
            put(journal, make_rollout(task, index, **changes))
    journal.close()
    finalize(made, RunConfig(run_dir=made.address, envs={}, collect={"formats": ["parquet"]}), Plan())
    return made.address


def load(run: str, name: str, folder: Path, **settings: Any) -> Any:
    """Export with the card, and load the folder by the card."""
    given = ExportSettings(out=str(folder / name), **settings)
    write_card(run, name, given, export(run, name, given))
    return datasets.load_dataset(str(folder / name), cache_dir=str(folder / "cache"))


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"nemo_rl_prompts", "verl_rl", "verl_sft"}))
def test_datasets_load_what_was_exported(name: str, run: str, tmp_path: Path) -> None:
    found = load(run, name, tmp_path, validation=0.4)
    assert set(found) == {"train", "validation"}
    per_task = 1 if "preference" in name else EACH
    assert sum(map(len, found.values())) == TASKS * per_task
    assert "task_name" not in found["train"].column_names


@pytest.mark.parametrize("name", ["sft", "openai_sft"])
def test_tool_schemas_and_arguments_come_back_exact(name: str, run: str, tmp_path: Path) -> None:
    row = load(run, name, tmp_path)["train"][0]
    assert [tool["function"]["parameters"] for tool in row["tools"]] == [tool["parameters"] for tool in TOOLS]
    assert row["messages"][1]["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 2, "b": 2}}
    assert orjson.dumps(row["tools"]).count(b"null") == 0


def test_trl_trains_on_it(run: str, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS)
    trainers = {
        "trl_sft": (trl.SFTTrainer, trl.SFTConfig),
        "trl_prompt_completion": (trl.SFTTrainer, trl.SFTConfig),
        "trl_preference": (trl.DPOTrainer, trl.DPOConfig),
    }
    for name, (trainer, config) in trainers.items():
        rows = load(run, name, tmp_path)["train"]
        arguments = config(output_dir=str(tmp_path), max_steps=1, report_to=[], use_cpu=True, save_strategy="no")
        model = AutoModelForCausalLM.from_pretrained(WEIGHTS)
        made = trainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
        assert made.train().training_loss > 0, name
        text = tokenizer.decode(_ids(made.train_dataset[0]))
        assert "add" in text, "the tools are in the prompt"
        assert "name" in text


def _ids(row: dict[str, Any]) -> list[int]:
    ids: list[int] = row.get("input_ids") or row["prompt_ids"]
    return ids


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of single answers without tools, with its plan."""
    folder = tmp_path_factory.mktemp("texts") / "run"
    config = golden_config(folder, ["mcqa", "string_match"], "http://127.0.0.1:1/v1", placement="inline")
    asyncio.run(write_golden_run(config, TASKS))
    return config.run_dir


@pytest.mark.parametrize("name", ["nemo_rl_prompts", "verl_rl", "verl_sft"])
def test_datasets_load_formats_of_tasks_and_texts(name: str, texts: str, tmp_path: Path) -> None:
    found = load(texts, name, tmp_path)["train"]
    assert len(found) == (ANSWERED if name == "verl_sft" else 2 * TASKS)
    assert "task_name" not in found.column_names


def test_verl_loads_tasks(texts: str, tmp_path: Path) -> None:
    loader = pytest.importorskip("verl.utils.dataset.rl_dataset")
    from omegaconf import OmegaConf
    from transformers import AutoTokenizer

    export(texts, "verl_rl", ExportSettings(out=str(tmp_path / "out"), ground_truth="expected_answer"))
    config = OmegaConf.create({"cache_dir": str(tmp_path / "cache"), "filter_overlong_prompts_workers": 1})
    rows = loader.RLHFDataset(str(tmp_path / "out/train.parquet"), AutoTokenizer.from_pretrained(WEIGHTS), config)
    assert len(rows) == 2 * TASKS
    batch = loader.collate_fn([rows[0], rows[1]])
    assert batch["raw_prompt"][0][-1]["role"] == "user"
    assert list(batch["data_source"]) == ["mcqa", "mcqa"]
    task = orjson.loads(rows[0]["extra_info"]["task"])
    assert rows[0]["reward_model"]["ground_truth"] == task["expected_answer"]


def test_verl_trains_on_the_answers(texts: str, tmp_path: Path) -> None:
    loader = pytest.importorskip("verl.utils.dataset.multiturn_sft_dataset")
    from omegaconf import OmegaConf
    from transformers import AutoTokenizer

    export(texts, "verl_sft", ExportSettings(out=str(tmp_path / "out")))
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS)
    config = OmegaConf.create({"max_length": 2048, "ignore_input_ids_mismatch": True})
    rows = loader.MultiTurnSFTDataset(str(tmp_path / "out/train.parquet"), tokenizer, config)
    assert len(rows) == ANSWERED
    said = orjson.loads(orjson.dumps(rows.messages[0]))[-1]["content"]
    learned = tokenizer.decode(rows[0]["input_ids"][rows[0]["loss_mask"].bool()])
    assert said.strip() in learned
    assert len(learned) < len(said) + 40, "the prompt is not learned"
