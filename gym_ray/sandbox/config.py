"""Settings of an environment's sandboxes (``envs.NAME.options.sandbox``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from gym_ray.types.errors import UserError
from gym_ray.types.settings import Settings
from gym_ray.types.validation import explain

MIB = 1 << 20


class SandboxConfig(Settings):
    """Behind which wall programs run, and how many at once."""

    @classmethod
    def read(cls, options: Mapping[str, Any] | None, **defaults: Any) -> SandboxConfig:
        """An environment's `sandbox` option over its ``defaults``.

        Raises:
            UserError: one line per wrong key or value.
        """
        try:
            return cls(**{**defaults, **(options or {})})
        except ValidationError as error:
            raise UserError("\n".join(explain(error, "sandbox."))) from None

    provider: Literal["auto", "namespaces", "bubblewrap", "docker", "podman", "apptainer"] = "auto"
    """auto: this machine's namespaces, else bubblewrap. Containers are used only when asked for, with `image`."""
    allow_unsafe: bool = False
    """Where no wall can be had, run programs as plain processes. For trusted programs only."""
    image: str | None = None
    """Container image, or .sif file. It needs `python3`, 3.9 or newer."""
    packages: list[str] = Field(default_factory=list)
    """Installed packages that programs may import beside the standard library (not for containers)."""
    max_running: int | None = Field(default=None, ge=1)
    """Sandboxes in use at once per environment actor; more wait. None: one per CPU."""
    warm: int = Field(default=2, ge=0)
    """Sandboxes kept ready, beside those in use."""
    starts_per_s: float = Field(default=50.0, gt=0)
    """Most sandboxes started per second."""
    queue_s: float = Field(default=600.0, gt=0)
    """Longest wait for a sandbox in seconds; then the rollout is masked."""
    memory_mb: int = Field(default=1024, ge=32)
    """Memory of all processes of one sandbox, in MiB."""
    tmp_mb: int = Field(default=64, ge=1)
    """Size of a sandbox's `/tmp`, in MiB."""
    processes: int = Field(default=64, ge=4)
    """Processes and threads of one sandbox."""
