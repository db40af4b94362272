"""Runs as NeMo-RL data sets, by dotted path: no export, no copy.

    data:
      train:
        dataset_name: gym_ray.integrations.nemo_rl.datasets.RolloutShards
        data_path: runs/math
        processor: sft_processor
        reward_min: 1

Imported by NeMo-RL in its own process; everything else of this package does without it. What is an example is said by
the export formats (``openai_sft``, ``nemo_rl_prompts``), so an export and this class train on the same. Examples are
held as JSON text and parsed when they are taken: NeMo-RL's own columns would fill each tool call with the argument
names of all others.

Source of the contract: NeMo-RL's ``data/datasets/raw_dataset.py`` and ``response_datasets/__init__.py``.
"""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath
from typing import Any

import orjson
from datasets import Dataset
from nemo_rl.data.datasets.raw_dataset import RawDataset
from pydantic import ValidationError

from gym_ray.export.formats import FORMATS
from gym_ray.export.pipeline import Tally, examples
from gym_ray.export.settings import ExportSettings
from gym_ray.types.errors import UserError
from gym_ray.types.validation import explain

PROMPTS = "nemo_gym_data_processor"
"""The processor that wants task rows; every other gets conversations."""


class RolloutShards(RawDataset):  # type: ignore[misc]
    """A run's rollouts for SFT, or with ``processor: nemo_gym_data_processor`` its tasks for RL.

    ``data_path``: the run directory. Further keys are filters, those of `gym-ray export` (``reward_min``, ``best``,
    ``env``, ``dedup``, ...); keys of NeMo-RL's own are left to it.

    Raises:
        UserError: no such run, a wrong filter, or nothing is left.
    """

    processor: Any

    def __init__(self, data_path: str, split_validation_size: float = 0, seed: int = 42, **config: Any) -> None:
        path = PurePosixPath(data_path)
        self.task_name = "-".join(path.parts[-2:]).split(".")[0].lstrip("-")
        self._prompts = config.get("processor") == PROMPTS
        settings = _settings({**config, "seed": seed})
        rows, tally = [], Tally()
        style = FORMATS["nemo_rl_prompts" if self._prompts else "openai_sft"]
        for _, example in examples(data_path, style, settings, tally):
            rows.append(orjson.dumps(example).decode())
        if not rows:
            raise UserError(f"nothing left of {data_path}: {tally}")
        names = [self.task_name] * len(rows)
        self.dataset = Dataset.from_dict({"extra_env_info": rows, "task_name": names})
        self.val_dataset = None
        self.split_train_validation(split_validation_size, seed)

    def set_processor(self) -> None:
        """NeMo-RL's processor of the configured name, given parsed examples."""
        super().set_processor()
        if not self._prompts:
            self.processor = partial(_parsed, self.processor)


def _parsed(processor: Any, datum_dict: dict[str, Any], *given: Any, **named: Any) -> Any:
    example = orjson.loads(datum_dict["extra_env_info"])
    return processor({**example, "task_name": datum_dict["task_name"]}, *given, **named)


def _settings(config: dict[str, Any]) -> ExportSettings:
    own = {name: value for name, value in config.items() if name in ExportSettings.model_fields and value is not None}
    try:
        return ExportSettings.model_validate({**own, "out": ""})
    except ValidationError as error:
        raise UserError("\n".join(explain(error, "data."))) from None
