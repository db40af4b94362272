"""Launch files from a cluster's settings: one text per kind, ready for ``kubectl``, ``sbatch`` or ``ray up``."""

from __future__ import annotations

from collections.abc import Sequence

from gym_ray.cluster import kuberay, ray_up, slurm
from gym_ray.cluster.config import ClusterConfig
from gym_ray.models.config import ModelConfig
from gym_ray.types.errors import UserError

WITH_COMMAND = ("kuberay_job", "slurm")
"""Kinds whose file runs a command; the others bring up a cluster that commands are submitted to."""


def render(config: ClusterConfig, words: Sequence[str] = (), model: ModelConfig | None = None) -> str:
    """The launch file. ``words``: the command that it runs, for the kinds that run one. ``model``: what a
    RayService serves.

    Raises:
        UserError: this kind has no file, wants a command or takes none, or lacks a setting.
    """
    kind = config.kind
    if kind == "ray":
        raise UserError("cluster.kind=ray runs already: nothing to render; choose cluster=kuberay/job, slurm or ray_up")
    if kind in WITH_COMMAND and not words:
        raise UserError(f"cluster.kind={kind}: say what it shall run: ... collect env=NAME run_dir=...")
    if kind not in WITH_COMMAND and words:
        raise UserError(f"cluster.kind={kind} brings up a cluster; `{words[0]}` is then for gym-ray submit")
    if kind == "slurm":
        return slurm.script(config, words)
    if kind == "ray_up":
        return ray_up.cluster_file(config)
    return kuberay.manifests(config, words, model)
