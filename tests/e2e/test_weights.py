"""A trainer changes the weights while a collection runs: nothing is lost, and every token says whose it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from gym_ray.collect.config import RunConfig
from gym_ray.collect.driver import collect
from gym_ray.collect.hosts import APP
from gym_ray.models.config import ModelConfig
from gym_ray.types.items import item_text
from tests.e2e.conftest import rows
from tests.support.processes import wait_for
from tests.support.runs import check_exactly_once, parquet_rows

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.usefixtures("ray_cluster")]
ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "gym_ray" / "models" / "tiny" / "weights"
TASKS, TOKENS = 90, 200
ENOUGH = 40_000
"""Bytes of the journal that some ten rollouts take."""


@pytest.fixture
def tiny() -> ModelConfig:
    """The embedded policy, greedy and always of full length."""
    settings = yaml.safe_load((ROOT / "conf" / "model" / "tiny.yaml").read_text())
    extra = {"extra_body": '{"ignore_eos": true}'}
    settings["sampling_overrides"] = {"temperature": 0.0, "max_output_tokens": TOKENS, "metadata": extra}
    settings["retry"] = {"max_attempts": 1}
    return ModelConfig.model_validate(settings)


class Trainer(threading.Thread):
    """Waits for the first rollouts, then updates twice. ``updates``: what came of it; ``error``: or did not."""

    def __init__(self, run: Path, folder: Path) -> None:
        super().__init__(daemon=True)
        self._run, self._folder = run, folder
        self.updates: list[Any] = []
        self.error: Exception | None = None

    def run(self) -> None:
        from gym_ray.models.serve.control import ModelControl

        try:
            control = ModelControl(APP)
            for seed, mode in ((1, "keep"), (2, "abort")):
                landed = self._landed()
                wait_for(lambda landed=landed: self._landed() > landed + ENOUGH, 180, "rollouts land")  # type: ignore[misc]
                tensors = load_file(WEIGHTS / "model.safetensors")
                generator = torch.Generator().manual_seed(seed)
                tensors = {
                    name: one + 0.02 * torch.randn(one.shape, generator=generator) for name, one in tensors.items()
                }
                if mode == "keep":
                    save_file(tensors, self._folder / "model.safetensors")
                    self.updates.append(control.update_weights(path=str(self._folder)))
                else:
                    self.updates.append(control.update_weights(tensors=tensors, mode="abort"))
        except Exception as error:
            self.error = error

    def _landed(self) -> int:
        """Bytes of finished rollouts in the journal."""
        files = [file for file in self._run.rglob("journal/**/*") if file.is_file() and "plan" not in str(file)]
        return sum(file.stat().st_size for file in files)


def test_weights_change_twice_during_a_run(
    make_config: Callable[..., RunConfig], tiny: ModelConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = rows(["say something"] * TASKS, expected=0)
    made = make_config("http://unused/v1", {"sum": ("Sum", tasks)}, rollouts_per_task=2, in_flight=16)
    config = made.model_copy(update={"model": tiny})
    run, folder = Path(config.run_dir), tmp_path / "weights"
    folder.mkdir()
    trainer = Trainer(run, folder)
    trainer.start()
    collect(config)
    trainer.join(60)
    assert trainer.error is None
    assert [update.version for update in trainer.updates] == [1, 2]
    with capsys.disabled():
        print(" pauses: " + ", ".join(f"{update.pause_s:.3f} s" for update in trainer.updates), end=" ")

    got = check_exactly_once(run, TASKS, 2)
    assert len(got) == TASKS * 2, "no rollout failed"
    assert {row["gym_ray"]["attempt"] for row in got} == {0}, "none was begun again"
    said: dict[tuple[int, ...], set[str]] = {}
    for row in got:
        versions = tuple(row["gym_ray"]["policy_versions"])
        said.setdefault(versions, set()).add(item_text(row["response"]["output"][-1]))
    assert (0,) in said
    assert (2,) in said
    assert not said[0,] & said[2,], "another policy says other things"
    totals = json.loads((run / "metrics.json").read_text())["environments"]["sum"]["policy_versions"]
    assert sum(totals.values()) == TASKS * 2 * TOKENS
    mixed = 0
    for row in parquet_rows(run):
        sampled = [version for version, mask in zip(row["policy_version"], row["loss_mask"], strict=True) if mask]
        assert sampled == sorted(sampled)
        mixed += len(set(sampled)) > 1
    assert mixed, "no rollout was under way when the weights changed"
