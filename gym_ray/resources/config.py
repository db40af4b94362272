"""Settings of one environment (``envs.NAME.*``)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gym_ray.types.settings import Settings


class EnvironmentConfig(Settings):
    """Which class serves an environment, where it runs, and its part in a blend of several."""

    server: str
    """The ResourcesServer class: `package.module:Class`, or `path/to/file.py:Class`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the class."""
    tasks: str | list[str] | None = None
    """Task files of this environment. None: those of `tasks.path`, else the environment's own examples."""
    judge: str = "default"
    """Which of the run's judges judges here, for classes that ask one: a name under `judges`, or `policy`."""
    aliases: list[str] = Field(default_factory=list)
    """Other names under which rows may ask for it (`agent_ref.name`, `task_source`)."""
    agent: dict[str, Any] = Field(default_factory=dict)
    """Settings of the agent loop that differ here, by their names under `agent` (`{max_turns: 6}`)."""
    sampling: dict[str, Any] = Field(default_factory=dict)
    """Create parameters for this environment's rows, below what a row says itself, above `model.sampling`
    (`{chat_template_kwargs: {enable_thinking: false}}`)."""
    rollouts_per_task: int | None = Field(default=None, ge=1)
    """Rollouts of each task of this environment. None: `collect.rollouts_per_task`."""
    limit: int | None = Field(default=None, ge=0)
    """First N rows of this environment only. None: `tasks.limit`."""
    weight: float = Field(default=1.0, gt=0)
    """Its share of the tasks at any point of the run, beside the others' (with `tasks.order=weighted`)."""
    in_flight: int | None = Field(default=None, ge=1)
    """Rollouts of this environment in flight in one agent worker. None: as many as `collect.in_flight` leaves."""
    max_failed_fraction: float | None = Field(default=None, ge=0, le=1)
    """Share of failed rollouts of this environment above which the command ends with exit code 3. None: only the
    share over all environments counts."""
    placement: Literal["auto", "inline", "actor", "process"] = "auto"
    """inline: in the agent's process. actor: a pool of Ray actors. process: a pool of Ray actors, each with a child
    process that has a Python of its own. auto: process where `requirements` or `python` are given, inline for `pure`
    classes, else actor."""
    requirements: str | list[str] | None = None
    """Packages that only this environment gets (placement `process`): a requirements file, or a list of its lines.
    None: what the class says it needs. They are installed once and kept in the user's cache."""
    python: str | None = None
    """Interpreter of its process. One of another Python version must have gym_ray itself. None: the one of gym_ray."""
    num_actors: int = Field(1, ge=1)
    """Size of the actor pool. Sessions are spread over it and stay where they began."""
    num_cpus: float = Field(0.1, ge=0)
    """Ray CPUs reserved per actor."""
    resources: dict[str, float] = Field(default_factory=dict)
    """Custom Ray resources per actor (`{sandbox: 1}`)."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Ray node labels the actors need."""
    max_restarts: int = Field(-1, ge=-1)
    """Restarts of a dead actor; -1: always."""
    max_sessions: int = Field(4096, ge=1)
    """Sessions open at once in one actor; more wait."""
    session_ttl_s: float = Field(7200.0, gt=0)
    """An idle session is closed after this many seconds (its rollout then fails as `session_expired`)."""
    verify_workers: int = Field(1, ge=1)
    """Worker processes per host for a `cpu_bound` verifier."""
    seed_timeout_s: float | None = Field(None, gt=0)
    """Overrides the class's deadline for `seed` and `reset`, in seconds."""
    tool_timeout_s: float | None = Field(None, gt=0)
    """Overrides the class's deadline per tool call or step, in seconds."""
    verify_timeout_s: float | None = Field(None, gt=0)
    """Overrides the class's deadline for `verify`, in seconds."""
    review_timeout_s: float | None = Field(None, gt=0)
    """Overrides the class's deadline for `review`, in seconds."""
