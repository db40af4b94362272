"""``gym-ray cluster render``: launch files for KubeRay, Slurm or the Ray launcher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from gym_ray.cli.compose import compose_settings, conf_dir, group_choices
from gym_ray.cli.main import DONE, VERBS
from gym_ray.cli.reference import reference
from gym_ray.cli.submit import split_words, with_run_dir
from gym_ray.cluster.config import ClusterConfig
from gym_ray.cluster.render import render
from gym_ray.models.config import ModelConfig
from gym_ray.types.settings import Settings

HELP = """\
usage: gym-ray cluster render cluster=NAME [cluster.KEY=VALUE]... [model=NAME] [out=FILE] [VERB WORDS...]

  gym-ray cluster render cluster=kuberay/job out=job.yaml collect env=mcqa run_dir=/shared/runs/mcqa
  gym-ray cluster render cluster=kuberay/cluster cluster.pools.policy.max_nodes=8
  gym-ray cluster render cluster=kuberay/service model=vllm model.serve.path=/shared/models/mine
  gym-ray cluster render cluster=slurm cluster.slurm.nodes=4 collect env=mcqa run_dir=/shared/runs/mcqa | sbatch
  gym-ray cluster render cluster=ray_up/aws out=aws.yaml; ray up aws.yaml
"""


class RenderRequest(Settings):
    """What ``cluster render`` composes."""

    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    """The cluster."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """The model that a RayService serves."""
    out: str | None = None
    """File to write. None: standard output."""


def help_text() -> str:
    """Examples, then every key."""
    groups = group_choices([conf_dir()])
    return f"{HELP}\n{reference(RenderRequest, {name: groups.get(name, []) for name in ('cluster', 'model')})}"


def run(words: Sequence[str]) -> int:
    """See the module."""
    own, command = split_words(words, [verb.split()[0] for verb in VERBS])
    request, _ = compose_settings(own, RenderRequest)
    config = request.cluster
    if command:
        command = with_run_dir(command, config)
    text = render(config, command, request.model)
    if request.out is None:
        print(text, end="")
    else:
        Path(request.out).write_text(text)
    return DONE
