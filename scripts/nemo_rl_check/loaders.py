"""NeMo-RL's data loaders and processors on our exports, and on a run itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gym_ray.export.pipeline import export
from gym_ray.export.settings import ExportSettings
from nemo_rl_check.table import Table

Json = dict[str, Any]
MAX_LEN = 4096
BY_PATH = "gym_ray.integrations.nemo_rl.datasets.RolloutShards"
FORMATS = ("nemo_rl_prompts", "openai_sft", "sft", "preference", "binary_preference")


def check_loaders(table: Table, run: str, folder: Path, tokenizer: Any) -> None:
    """Export ``run`` in every format that NeMo-RL has a loader for, and load each back."""
    for name in FORMATS:
        export(run, name, ExportSettings(out=str(folder / name)))
    sft = folder / "openai_sft/train.jsonl"
    responses: list[tuple[str, str, Json]] = [
        ("NemoGymDataset", "nemo_rl_prompts", {"data_path": str(folder / "nemo_rl_prompts/train.jsonl"), **PROMPTS}),
        ("openai_format", "openai_sft", {"data_path": str(sft), **SFT}),
        ("openai_format", "openai_sft, preserving", {"data_path": str(sft), "use_preserving_dataset": True, **SFT}),
        ("ResponseDataset", "sft (Parquet)", {"data_path": str(folder / "sft/train.parquet"), **SFT}),
        (BY_PATH, "the run itself, as conversations", {"data_path": run, "reward_min": 1.0, **SFT}),
        (BY_PATH, "the run itself, as tasks", {"data_path": run, **PROMPTS}),
    ]
    for name, fed, config in responses:
        with table.row(f"load_response_dataset({name.rpartition('.')[2]})", fed) as row:
            row.result = _response({"dataset_name": name, "tool_key": "tools", **config}, tokenizer)
    for name, fed in (("PreferenceDataset", "preference"), ("BinaryPreferenceDataset", "binary_preference")):
        with table.row(f"load_preference_dataset({name})", fed) as row:
            row.result = _preference({"dataset_name": name, "data_path": str(folder / fed / "train.jsonl")}, tokenizer)


PROMPTS = {"processor": "nemo_gym_data_processor", "env_name": "nemo_gym"}
SFT = {"processor": "sft_processor"}


def _response(config: Json, tokenizer: Any) -> str:
    from nemo_rl.data.datasets.response_datasets import load_response_dataset

    data = load_response_dataset(config)
    samples = _processed(data, tokenizer)
    if config["processor"] == PROMPTS["processor"]:
        assert all("responses_create_params" in one["extra_env_info"] for one in samples)
        assert not any(key.startswith("_ng_") for one in samples for key in one["extra_env_info"])
        return f"{len(samples)} task rows through `{config['processor']}`"
    trained = sum(len(message["token_ids"]) for one in samples for message in one["message_log"])
    assert all(one["loss_multiplier"] == 1.0 for one in samples)
    assert all(one["message_log"][-1]["role"] == "assistant" for one in samples)
    return f"{len(samples)} conversations, {trained:,} tokens through `{config['processor']}`"


def _preference(config: Json, tokenizer: Any) -> str:
    from nemo_rl.data.datasets.preference_datasets import load_preference_dataset
    from nemo_rl.data.processors import preference_preprocessor

    keys = {"prompt_key": "prompt", "chosen_key": "chosen", "rejected_key": "rejected"}
    data = load_preference_dataset({**config, **(keys if config["dataset_name"].startswith("Binary") else {})})
    process = preference_preprocessor
    pairs = [process(one, data.task_spec, tokenizer, MAX_LEN, at) for at, one in enumerate(data.dataset)]
    assert all(one["length_chosen"] > 0 and one["length_rejected"] > 0 for one in pairs)
    return f"{len(pairs)} pairs through `preference_preprocessor`"


def _processed(data: Any, tokenizer: Any) -> list[Json]:
    from nemo_rl.data.datasets import AllTaskProcessedDataset

    processors = {data.task_name: (data.task_spec, data.processor)}
    whole = AllTaskProcessedDataset(data.dataset, tokenizer, None, processors, max_seq_length=MAX_LEN)
    return [whole[at] for at in range(len(whole))]
