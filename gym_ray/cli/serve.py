"""``gym-ray serve``: a model on Ray Serve, at an OpenAI-compatible address, until Ctrl-C."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence

from pydantic import Field

from gym_ray.cli import serve_env
from gym_ray.cli.compose import compose_settings, conf_dir, group_choices
from gym_ray.cli.main import DONE
from gym_ray.cli.reference import reference
from gym_ray.models.config import ModelConfig, ServeConfig
from gym_ray.models.remote import secret_of
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
  gym-ray serve model.serve.http_host=0.0.0.0 model.serve.api_key_env=MY_KEY     on the network, for those with a key

Answers /v1/responses, /v1/chat/completions (both stream), /v1/models and /health at http://127.0.0.1:8000
(model.serve.http_host, model.serve.http_port). Ctrl-C ends it.
Collect against it from anywhere: gym-ray collect model=openai model.base_url=http://HOST:8000/v1 model.name=NAME ...
"""
TRY = """\
try it:
  curl {address}/chat/completions -H 'Content-Type: application/json'{key} \\
    -d '{{"model": "{name}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
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
    secret_of("model.serve.api_key_env", model.serve.api_key_env)
    if not os.environ.get("RAY_ADDRESS"):  # on a running cluster its proxy may be there already
        _check_free(model.serve.http_host, port)
    _serve(model, _address(model.serve, port))
    return DONE


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"model.serve.http_port={port}: cannot listen at {host} ({error.strerror})") from None


def _address(settings: ServeConfig, port: int) -> str:
    """Where this machine reaches the public face."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.http_host, settings.http_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def _serve(model: ModelConfig, address: str) -> None:
    from gym_ray.collect.cluster import ray_session
    from gym_ray.collect.interrupts import Interrupts
    from gym_ray.models.serve.deployment import deploy, undeploy

    app_name = model.serve.app or APP
    print(f"starting {model.name} ...", file=sys.stderr)
    with ray_session():
        try:
            deploy(model, app_name=app_name)
        except KeyboardInterrupt:
            undeploy(app_name)
            raise
        with Interrupts() as interrupts:
            key = f' -H "Authorization: Bearer ${model.serve.api_key_env}"' if model.serve.api_key_env else ""
            print(f"{model.name} answers at {address} (Ctrl-C ends it)")
            print(TRY.format(address=address, key=key, name=model.name), flush=True)
            while not interrupts.count:
                time.sleep(0.2)
        print("stopping ...", file=sys.stderr)
        undeploy(app_name)
