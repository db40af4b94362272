"""Settings of the live service."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gym_ray.service.curriculum import CurriculumConfig
from gym_ray.types.settings import Settings


class ServiceConfig(Settings):
    """What a trainer wants to be served."""

    max_policy_age: int | None = Field(1, ge=0)
    """A group whose oldest sampled token is more policy versions old than this is not handed over. 0: on-policy.
    None: no bound."""
    on_stale: Literal["reroll", "drop"] = "reroll"
    """What becomes of such a group: its rollouts are made again, or it is dropped (and counted as `stale`)."""
    open_groups: int = Field(64, ge=1)
    """Groups in the air or waiting for the trainer at most. More than a step takes: over-sampling; what is left when a
    step has enough is carried over to the next, finished or not."""
    draw_tasks: bool = False
    """Draw tasks from the run's task files, for ever, as `curriculum` says. false: only what is submitted is rolled."""
    curriculum: CurriculumConfig = Field(default_factory=CurriculumConfig)
    """Which tasks are drawn, and which groups are admitted."""
