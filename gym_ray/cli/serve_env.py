"""``gym-ray serve env=NAME``: an environment, or an environment with its model, over NeMo Gym's HTTP contract."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Sequence
from functools import partial

from pydantic import Field

from gym_ray.agents.base import AgentConfig
from gym_ray.cli.compose import compose_settings, conf_dir, group_choices
from gym_ray.cli.main import DONE
from gym_ray.cli.reference import reference
from gym_ray.collect.config import RunConfig
from gym_ray.models.config import ModelConfig
from gym_ray.models.connect import ListEndpoints
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.judge import POLICY, Judges
from gym_ray.types.errors import UserError
from gym_ray.types.settings import Settings

ATTEMPTS = 3
"""Tries at one rollout of ``/run``."""

HELP = """\
usage: gym-ray serve env=NAME [model=NAME] [port=N] [KEY=VALUE]...

  gym-ray serve env=workplace                                    /seed_session, the tools, /verify
  gym-ray serve env=mcqa model=tiny port=11005                   and /run, /v1/responses, with the embedded policy
  gym-ray serve env=rubric_judge judge=openai judge.base_url=http://host:8000/v1 judge.name=some-model

Answers as a resources server and, with a model, as an agent of NeMo Gym would (0.5 to 0.7), at http://HOST:PORT.
"""


class ServeEnvRequest(Settings):
    """What ``serve env=`` composes."""

    envs: dict[str, EnvironmentConfig]
    """The environment."""
    judges: dict[str, ModelConfig] = Field(default_factory=dict)
    """Judges by name."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """The model behind /run and /v1/responses."""
    agent: AgentConfig = Field(default_factory=AgentConfig)
    """The agent loop's limits."""
    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` opens it to the network, without authentication."""
    port: int = 11001
    """Port to listen on."""


def help_text() -> str:
    """Examples, then every key."""
    return f"{HELP}\n{reference(ServeEnvRequest, group_choices([conf_dir()]))}"


def run(words: Sequence[str]) -> int:
    """See the module."""
    request, _ = compose_settings(words, ServeEnvRequest)
    if len(request.envs) != 1:
        raise UserError(f"serve takes one environment, not {len(request.envs)}: start one command for each")
    with_model = any(word.startswith(("model=", "model.")) for word in words)
    fields = {name: getattr(request, name) for name in ("envs", "judges", "model", "agent")}
    config = RunConfig(run_dir="unused", **fields)
    with contextlib.ExitStack() as stack:
        table, endpoints = stack.enter_context(_models(config, with_model=with_model))
        asyncio.run(_serve(request, table, endpoints, with_model=with_model))
    return DONE


@contextlib.contextmanager
def _models(config: RunConfig, *, with_model: bool) -> Iterator[tuple[Judges, ListEndpoints | None]]:
    """Judges and policy, up while the block runs. Ray is started only when one of them is a deployment of ours."""
    from gym_ray.collect.hosts import APP, deployed
    from gym_ray.collect.judges import asked_judges, judges_up
    from gym_ray.resources.load import load_servers

    servers = load_servers(config.envs)
    asked = asked_judges(config, servers)
    models = [config.judges[name] for name in asked if name != POLICY]
    if with_model or POLICY in asked:
        models.append(config.model)
    with contextlib.ExitStack() as stack:
        if any(model.kind == "vllm" for model in models):
            from gym_ray.collect.cluster import ray_session

            stack.enter_context(ray_session())
        deploy = partial(deployed, lambda text: print(text, file=sys.stderr))
        wanted = with_model or POLICY in asked
        endpoints = stack.enter_context(deploy(config.model, APP)) if wanted else None
        yield stack.enter_context(judges_up(config, asked, endpoints, deploy)), endpoints


async def _serve(
    request: ServeEnvRequest, judges: Judges, endpoints: ListEndpoints | None, *, with_model: bool
) -> None:
    """Host the environment in this process and answer until Ctrl-C."""
    from uvicorn import Config, Server

    from gym_ray.agents.load import make_agent
    from gym_ray.collect.attempt import RolloutMaker
    from gym_ray.integrations.nemo_gym.face import Face
    from gym_ray.models.connect import connect_model
    from gym_ray.models.sampling import effective_params
    from gym_ray.resources.connect import connect

    ((name, environment),) = request.envs.items()
    resources = connect(name, environment, judges=judges)
    face = Face(name, resources)
    if with_model:
        agent, model = make_agent(request.agent, gymnasium=resources.gymnasium), connect_model(request.model, endpoints)
        maker = RolloutMaker(agent, name, request.agent, model, resources, ATTEMPTS)
        face = Face(name, resources, maker, lambda row: effective_params(row, request.model, resources.tools))
    server = Server(Config(face.app, request.host, request.port, log_level="warning", lifespan="off"))
    print(f"{name} answers at http://{request.host}:{request.port} (Ctrl-C ends it)", flush=True)
    try:
        await server.serve()
    finally:
        await resources.aclose()
