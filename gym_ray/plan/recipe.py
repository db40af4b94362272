"""A recipe: the settings of a run, and what they mean beside a trainer.

Everything that decides what the rollouts are is an ordinary run setting (``envs``, ``model``, ``judges``, ``agent``,
``collect``, ``tasks``). The section ``recipe`` holds what a single collection cannot know (how many nodes each pool
gets, how many prompts a training step takes, where the published data go) and where each value comes from.

Invariant: a value stands in one place. The files of ``conf/model`` read theirs from ``recipe.generation`` where there
is a recipe, so that another model can be put in its place without leftovers.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gym_ray.collect.config import RunConfig
from gym_ray.types.settings import Settings


class Fact(Settings):
    """One published value beside ours."""

    published: Any
    """The value that was published."""
    source: str
    """Where: file and key, or paper and section."""
    why: str | None = None
    """Why ours differs, where it does; or how disagreeing sources were weighed."""


class Hardware(Settings):
    """The nodes that a recipe is made for (``recipe.hardware.*``)."""

    gpu: str = "H100 80 GB"
    """The GPU, in words."""
    gpu_memory_gb: float = 80.0
    """Its memory, in GB."""
    gpus_per_node: int = 8
    """GPUs of one node."""


class Generation(Settings):
    """The policy's engines (``recipe.generation.*``)."""

    weights: str
    """The weights they serve: a directory or a hub name."""
    context_tokens: int
    """Longest prompt and answer together; also the longest answer."""
    replicas: int
    """Engines."""
    tensor_parallel: int
    """GPUs of one engine."""
    gpu_memory_utilization: float
    """Share of a GPU's memory that an engine takes."""
    max_num_seqs: int = 256
    """Requests in one engine's batch."""
    colocated: bool = False
    """The engines share their GPUs with the trainer, by turns."""


class Training(Settings):
    """What the trainer takes (``recipe.training.*``)."""

    prompts_per_step: int
    """Groups in one training step; the group size is ``collect.rollouts_per_task``."""
    max_age_steps: int = 0
    """How many versions behind the newest weights a trajectory may be; 0: synchronous."""


class Data(Settings):
    """The published data (``recipe.data.*``)."""

    dataset: str
    """Hub name of the data set."""
    file: str
    """The file of it that this recipe takes."""
    validation_rows: int
    """The last rows of the file that are for validation."""
    routes: dict[str, str] = Field(default_factory=dict)
    """Environments of rows whose data set has KEY in its name, where the agent's name does not tell."""
    folder: str
    """Where ``gym-ray tasks prepare`` puts what it makes of the file."""


class RecipeSettings(Settings):
    """What a recipe knows beside its run (``recipe.*``)."""

    title: str
    """One line for ``gym-ray recipe list``."""
    data: Data
    """The published data."""
    generation: Generation
    """The policy's engines."""
    training: Training
    """What the trainer takes."""
    hardware: Hardware = Field(default_factory=Hardware)
    """The nodes it is made for."""
    nodes: dict[str, int] = Field(default_factory=dict)
    """Nodes by pool: `training`, `policy`, and each judge by its name."""
    nemo_rl: dict[str, Any] = Field(default_factory=dict)
    """The trainer's part, in the words of NeMo-RL's configuration."""
    facts: dict[str, Fact] = Field(default_factory=dict)
    """Published values by the dotted name of the setting that they became."""


class RecipeConfig(RunConfig):
    """A run with its recipe."""

    recipe: RecipeSettings
    """What belongs to the recipe alone."""

    @property
    def run(self) -> RunConfig:
        """The run alone, as ``gym-ray collect`` would have it."""
        return RunConfig(**{name: getattr(self, name) for name in RunConfig.model_fields})


def lookup(settings: Any, dotted: str) -> Any:
    """The value at a dotted name in ``settings.model_dump()``; None where there is nothing."""
    value = settings
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
