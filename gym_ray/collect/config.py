"""Settings of one collection run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError, model_validator

from gym_ray.agents.base import AgentConfig
from gym_ray.models.config import ModelConfig
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.types.settings import Settings
from gym_ray.types.validation import explain


class TasksConfig(Settings):
    """Where tasks come from (``tasks.*``)."""

    path: str | list[str] | None = None
    """Task files: JSONL or Parquet; a file, directory or glob, local or `s3://...`. Rows say their environment
    (`environment`, `agent_ref.name`, `task_source`); with one environment chosen they need not."""
    limit: int | None = Field(None, ge=1)
    """First N rows of each environment only."""
    order: Literal["files", "weighted"] = "files"
    """files: one file after the other, rows as they stand (a curriculum stays one). weighted: environments take turns
    by `env.weight`, each in the order of its own files (`env.tasks`, or its examples)."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """stop: list every bad row and end. skip: record them in `failures/` and go on."""
    prompt: str | None = None
    """YAML file with `user` and optionally `system`: `{field}` templates over the row that make its input."""
    max_row_mb: float = Field(64.0, gt=0)
    """A longer line is a bad row."""


class CollectConfig(Settings):
    """How rollouts are made (``collect.*``)."""

    rollouts_per_task: int = Field(1, ge=1)
    """Rollouts of each task: the group size."""
    num_agents: int = Field(1, ge=1)
    """Agent worker processes."""
    max_agents: int | None = Field(None, ge=1)
    """More workers come while all have their hands full, up to so many, and those without work go. None: never."""
    agent_cpus: float = Field(0.5, ge=0)
    """Ray CPUs reserved per agent worker."""
    agent_resources: dict[str, float] = Field(default_factory=dict)
    """Custom Ray resources per agent worker."""
    agent_labels: dict[str, str] = Field(default_factory=dict)
    """Ray node labels that agent workers need (`{pool: agents}`)."""
    in_flight: int = Field(1024, ge=1)
    """Rollouts in flight in one agent worker."""
    block_rollouts: int | None = Field(None, ge=1)
    """Rollouts per Ray Data block. None: one group, or as many small groups as make up to 64."""
    part: str | None = None
    """`2/4`: the second of four jobs that share the run directory, each with a quarter of the tasks and agents of its
    own. None of them makes shards: `gym-ray runs recover`, or a collect without it, does once all have ended."""
    max_attempts: int = Field(3, ge=1)
    """Attempts at one rollout when a session is lost or an attempt fails without being terminal."""
    max_worker_deaths: int = Field(2, ge=1)
    """Deaths of an agent worker while a rollout ran alone in it (as a suspect) before it is given up."""
    group_deadline_s: float | None = Field(None, gt=0)
    """Group verifiers: seconds from a group's first finished rollout until the rest are given up."""
    fsync: bool = False
    """Also survive a host's power loss, at the price of a disk flush per second."""
    formats: list[Literal["jsonl", "parquet"]] = Field(["jsonl", "parquet"], min_length=1)
    """Shard formats to write."""
    rows_per_shard: int = Field(10_000, ge=1)
    """Rollouts per shard file."""
    max_failed_fraction: float = Field(0.05, ge=0, le=1)
    """Above this share of failed rollouts the command ends with exit code 3."""
    watchdog_s: float = Field(300.0, gt=0)
    """Seconds without any finished rollout after which the table of what is in flight is logged."""
    trace: bool = False
    """Send OpenTelemetry spans: one trace per rollout, with its model calls, tools and verification (extra `otel`).
    Where to is said by the standard variables, `OTEL_EXPORTER_OTLP_ENDPOINT` first."""
    resume: bool = True
    """Go on where an earlier run in the same directory stopped. false: refuse to touch such a directory."""


class TrackersConfig(Settings):
    """Experiment trackers that get the run's metrics and some of its rollouts (``trackers.*``). Their own variables
    say where they are and who asks (``WANDB_API_KEY``, ``WANDB_MODE``, ``MLFLOW_TRACKING_URI``)."""

    to: list[Literal["wandb", "mlflow"]] = []
    """Which: `wandb`, `mlflow`; the package of that name (or `mlflow-skinny`) must be installed."""
    project: str = "gym_ray"
    """W&B's project, MLflow's experiment. The run is called like its directory."""
    samples: int = Field(50, ge=0)
    """Rollouts that go along at the end, evenly over the tasks."""
    every_s: float = Field(10.0, ge=0)
    """Seconds between two reports while the run goes on. 0: each time there is something new."""


class RunConfig(Settings):
    """One run: everything that decides what it makes."""

    run_dir: str
    """The run's directory, local or any fsspec / pyarrow address."""
    envs: dict[str, EnvironmentConfig]
    """Environments by name."""
    recorded: str | None = None
    """Run whose trajectories are verified again, in place of a model's (`gym-ray reverify` sets it)."""
    tasks: TasksConfig = Field(default_factory=TasksConfig)
    """Where tasks come from."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """The policy model."""
    judges: dict[str, ModelConfig] = Field(default_factory=dict)
    """Models that verifiers ask, by name; `default` is asked unless `env.judge` says otherwise."""
    agent: AgentConfig = Field(default_factory=AgentConfig)
    """The agent loop's limits."""
    collect: CollectConfig = Field(default_factory=CollectConfig)
    """How rollouts are made."""
    trackers: TrackersConfig = Field(default_factory=TrackersConfig)
    """Experiment trackers that are told."""

    @model_validator(mode="after")
    def _check_agents(self) -> RunConfig:
        for name in self.envs:
            try:
                self.agent_of(name)
            except ValidationError as error:
                raise ValueError("; ".join(explain(error, f"envs.{name}.agent."))) from None
        return self

    def agent_of(self, environment: str) -> AgentConfig:
        """The agent loop's settings for one environment."""
        own = self.envs[environment].agent
        return AgentConfig.model_validate({**self.agent.model_dump(), **own}) if own else self.agent

    def model_of(self, environment: str) -> ModelConfig:
        """The policy's settings for one environment."""
        own = self.envs[environment].sampling
        return self.model.model_copy(update={"sampling": {**self.model.sampling, **own}}) if own else self.model

    def rollouts_of(self, environment: str) -> int:
        """Rollouts of each task of one environment: its group size."""
        return self.envs[environment].rollouts_per_task or self.collect.rollouts_per_task
