"""Settings of the closed loop: a run (``RunConfig``) and what is learnt from it (``rl.*``)."""

from __future__ import annotations

from pydantic import Field

from gym_ray.collect.config import RunConfig, TasksConfig
from gym_ray.types.errors import UserError
from gym_ray.types.settings import Settings


class LearnerConfig(Settings):
    """One training step (``rl.learner.*``)."""

    rate: float = Field(3e-4, gt=0)
    """Learning rate of AdamW."""
    warmup_steps: int = Field(5, ge=0)
    """Steps over which the rate rises to that."""
    minibatches: int = Field(1, ge=1)
    """Optimizer updates per step, each on its share of the step's samples."""
    clip_low: float = Field(0.2, ge=0)
    """How far below 1 the importance ratio counts."""
    clip_high: float = Field(0.28, ge=0)
    """How far above 1 it counts."""
    scale_rewards: bool = True
    """Divide advantages by their group's standard deviation."""
    max_gradient: float = Field(1.0, gt=0)
    """Norm to which gradients are cut."""
    rows_at_once: int = Field(64, ge=1)
    """Sequences in one forward pass; decides memory, not what is learnt."""
    threads: int | None = Field(None, ge=1)
    """Threads of torch. None: its own choice."""


class RlSettings(Settings):
    """The loop (``rl.*``)."""

    held_out: TasksConfig = Field(default_factory=TasksConfig)
    """Tasks to measure on. Those of the training tasks that ask the same are left out of training."""
    seeds: list[int] = Field([0], min_length=1)
    """One training after another, each from the model's own weights: they differ in the order of tasks."""
    steps: int = Field(100, ge=0)
    """Training steps per seed."""
    groups_per_step: int = Field(16, ge=1)
    """Tasks per step, each rolled out `collect.rollouts_per_task` times."""
    measure_every: int = Field(20, ge=1)
    """Steps between two measurements on the held-out tasks; there is one before the first step and one at the end."""
    measure_rollouts: int = Field(4, ge=1)
    """Rollouts of each held-out task in a measurement."""
    checkpoint_every: int = Field(5, ge=1)
    """Steps between two checkpoints. What came after the last one is done again after an interruption."""
    learner: LearnerConfig = Field(default_factory=LearnerConfig)
    """One training step."""


class RlConfig(RunConfig):
    """Everything that decides a training."""

    rl: RlSettings = Field(default_factory=RlSettings)
    """The loop."""

    @property
    def run(self) -> RunConfig:
        """The collecting side alone."""
        return RunConfig(**{name: getattr(self, name) for name in RunConfig.model_fields})

    @property
    def temperature(self) -> float:
        """What rollouts are sampled at."""
        value = (self.model.sampling | self.model.sampling_overrides).get("temperature", 1.0)
        return float(value)

    def check(self) -> None:
        """Raises UserError for a model that cannot be learnt with."""
        if self.model.kind != "vllm" or self.temperature <= 0:
            raise UserError("rl trains a model that it deploys (model.kind=vllm), sampled at a temperature above 0")
        sampling = self.model.sampling | self.model.sampling_overrides
        for name, off in CUTS.items():
            if sampling.get(name, off) not in (off, None):
                raise UserError(
                    f"model.sampling.{name}={sampling[name]}: the learner cannot tell what it cut off; give {off}"
                )


CUTS = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}
"""Create parameters that cut tokens off, each with its value when it cuts nothing."""
