"""What a training leaves in its run directory, and finds there again.

    training/config.yaml                the ``rl`` settings
    training/seed-N/metrics.jsonl       one line per step, step 0 being the measurement before the first
    training/seed-N/checkpoint.pt       the learner's state after a step
    training/seed-N/weights/            the trained model, as transformers and vLLM read it; written last
    curve.png                           reward over steps, all seeds

Invariants: each file appears whole or not at all; metrics never say less than the checkpoint knows, and
:meth:`Record.resume` drops the lines of steps that the checkpoint does not know.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import yaml

from gym_ray.collect.rundir import RunDir
from gym_ray.integrations.grpo.settings import RlSettings
from gym_ray.types.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "training/config.yaml"
WEIGHTS = "weights/model.safetensors"
FREE = ("seeds", "steps", "checkpoint_every")
"""Settings that may differ when a training goes on."""
FREE_LEARNER = ("rows_at_once", "threads")
Line = dict[str, Any]


def check_settings(run: RunDir, settings: RlSettings) -> None:
    """Note the settings, or hold them against those that the training began with.

    Raises:
        UserError: one that decides what is learnt has changed.
    """
    wanted = settings.model_dump(mode="json")
    run.filesystem.create_dir(run.path("training"), recursive=True)
    if run.exists(CONFIG):
        before = yaml.safe_load(run.read(CONFIG))
        changed = [name for name, old, new in _differences(before, wanted) if old != new]
        if changed:
            raise UserError(f"{run.address}: a training with another {changed[0]}: set it back, or use a new run_dir")
    run.write(CONFIG, yaml.safe_dump(wanted, sort_keys=False).encode())


def _differences(before: dict[str, Any], wanted: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in wanted:
        if name == "learner":
            for key, value in wanted[name].items():
                if key not in FREE_LEARNER:
                    yield f"rl.learner.{key}", before[name].get(key), value
        elif name not in FREE:
            yield f"rl.{name}", before.get(name), wanted[name]


class Record:
    """The files of one seed. ``lines``: its metrics so far."""

    def __init__(self, run: RunDir, seed: int) -> None:
        self._run, self._folder = run, f"training/seed-{seed}"
        for part in ("", "/weights"):
            run.filesystem.create_dir(run.path(self._folder + part), recursive=True)
        self.lines = read_lines(run, seed)

    def add(self, line: Line) -> None:
        """Add a step."""
        self.lines.append(line)
        self._write_lines()

    def save(self, state: dict[str, Any]) -> None:
        """Keep the learner's state, in place of the one before."""
        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        self._run.write(f"{self._folder}/checkpoint.pt", buffer.getvalue())

    def resume(self) -> dict[str, Any] | None:
        """The state to go on from, None when there is none. Lines after it are dropped."""
        import torch

        state: dict[str, Any] | None = None
        if self._run.exists(path := f"{self._folder}/checkpoint.pt"):
            state = torch.load(io.BytesIO(self._run.read(path)), weights_only=True)
        self.lines = [line for line in self.lines if state and line["step"] <= state["steps"]]
        self._write_lines()
        return state

    def finish(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Write the model: ``tensors``, and what else is in the folder ``source`` that it came from."""
        from safetensors.torch import save

        for file in sorted(Path(source).iterdir()):
            if file.is_file() and file.suffix != ".safetensors" and not file.name.endswith(".index.json"):
                self._run.write(f"{self._folder}/weights/{file.name}", file.read_bytes())
        whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        self._run.write(f"{self._folder}/{WEIGHTS}", save(whole, metadata={"format": "pt"}))

    def _write_lines(self) -> None:
        self._run.write(f"{self._folder}/metrics.jsonl", b"".join(orjson.dumps(line) + b"\n" for line in self.lines))


def read_lines(run: RunDir, seed: int) -> list[Line]:
    """The metrics of one seed; none when it has not begun."""
    path = f"training/seed-{seed}/metrics.jsonl"
    return [orjson.loads(line) for line in run.read(path).splitlines()] if run.exists(path) else []


def is_done(run: RunDir, seed: int, steps: int) -> bool:
    """Whether the seed has taken all its steps and its weights are there."""
    lines = read_lines(run, seed)
    return bool(lines) and lines[-1]["step"] >= steps and run.exists(f"training/seed-{seed}/{WEIGHTS}")
