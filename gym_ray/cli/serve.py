"""``gym-ray serve``: a model on Ray Serve, at an OpenAI-compatible address, until Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from pydantic import Field

from gym_ray.cli import serve_env
from gym_ray.cli.compose import compose_settings, conf_dir, group_choices
from gym_ray.cli.main import DONE
from gym_ray.cli.reference import reference
from gym_ray.models.config import ModelConfig
from gym_ray.types.errors import UserError
from gym_ray.types.settings import Settings

PORT = 8000
"""Where OpenAI-compatible servers usually listen, unless ``model.serve.http_port`` says otherwise."""
APP = "model"

EXAMPLES = """\
usage: gym-ray serve [model=NAME] [model.KEY=VALUE]...

  gym-ray serve                                                    the embedded model, on this machine's CPU
  gym-ray serve model=vllm model.serve.path=/models/mine model.serve.num_replicas=2
  gym-ray serve model=vllm model.serve.path=/models/mine model.serve.engine_args.tensor_parallel_size=4

Answers /v1/responses, /v1/chat/completions, /v1/models and /health at http://HOST:8000 (model.serve.http_port).
Collect against it from anywhere: gym-ray collect model=openai model.base_url=http://HOST:8000/v1 ...
"""


class ServeRequest(Settings):
    """What ``serve`` composes."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    """The model."""


def help_text() -> str:
    """Examples, then every key."""
    groups = {"model": group_choices([conf_dir()]).get("model", [])}
    return f"{EXAMPLES}\n{reference(ServeRequest, groups)}\n\n{serve_env.HELP}"


def run(words: Sequence[str]) -> int:
    """See the module."""
    if any(word.startswith("env=") for word in words):
        return serve_env.run(words)
    request, arguments = compose_settings(words, ServeRequest)
    model = request.model
    if model.kind != "vllm":
        raise UserError(f"model={arguments.choices['model']} is a remote endpoint: there is nothing to serve")
    port = model.serve.http_port or PORT
    model = model.model_copy(update={"serve": model.serve.model_copy(update={"http_port": port})})
    _serve(model, f"http://{model.serve.http_host}:{port}/v1")
    return DONE


def _serve(model: ModelConfig, address: str) -> None:
    from gym_ray.collect.cluster import ray_session
    from gym_ray.collect.interrupts import Interrupts
    from gym_ray.models.serve.deployment import deploy, undeploy

    print(f"starting {model.name} ...", file=sys.stderr)
    with ray_session():
        try:
            deploy(model, app_name=APP)
        except KeyboardInterrupt:
            undeploy(APP)
            raise
        with Interrupts() as interrupts:
            print(f"{model.name} answers at {address} (Ctrl-C ends it)", flush=True)
            while not interrupts.count:
                time.sleep(0.2)
        print("stopping ...", file=sys.stderr)
        undeploy(APP)
