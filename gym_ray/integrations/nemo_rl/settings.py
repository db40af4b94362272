"""What ``env.nemo_gym.gym_ray`` may say: the one block of ours inside NeMo Gym's.

All of it has a default. ``model``, ``agent``, ``collect`` and ``judges`` are the settings of those names
(`gym-ray collect --help` lists them); what the trainer decides itself (addresses, model name) is set over them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gym_ray.agents.base import AgentConfig
from gym_ray.collect.config import CollectConfig
from gym_ray.integrations.nemo_rl.results import History
from gym_ray.models.config import ModelConfig
from gym_ray.types.settings import Settings


class GymRaySettings(Settings):
    """``env.nemo_gym.gym_ray.*``."""

    run_dir: str | None = None
    """Where every rollout is kept. None: `results/gym_ray/<UTC time>` where the trainer was started."""
    path: str | None = None
    """A NeMo Gym checkout: its YAML files are read and its servers hosted. None: the installed package, if any."""
    hosted: bool | list[str] = False
    """true, or folder names under `resources_servers`: host NeMo Gym's own server although there is one of ours."""
    history: History = "mask"
    """A rollout of several segments, of which the trainer takes one. mask: the first, not trained on. last: train on
    the last one."""
    on_lost_group: Literal["raise", "mask"] = "raise"
    """A group in which every rollout was lost to servers that are away. raise: a ConnectionError, which the trainer
    counts and retries. mask: rows that are not trained on."""
    python: str | None = None
    """Interpreter of our actors, with gym_ray and the trainer's Ray. None: the trainer's own."""
    envs: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Environments by name, over those that the block asks for: settings as under `envs`. One without `server` is
    the one of that name that comes with gym_ray."""
    judges: dict[str, ModelConfig] = Field(default_factory=dict)
    """Judges by NeMo Gym's name for the model server (`nl2bash_judge_model`)."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Settings of the policy's client (`timeout_s`, `max_concurrency`, `extra_body`, ...)."""
    agent: AgentConfig = Field(default_factory=AgentConfig)
    """Limits of the agent loop, where the block's own agents say nothing."""
    collect: CollectConfig = Field(default_factory=lambda: CollectConfig(num_agents=2))
    """Agent workers and their limits."""
