"""The judges of a run: checked before anything starts, brought up beside the policy, taken down after it.

A judge of kind ``vllm`` gets a Serve application and replicas of its own. The judge called ``policy`` is the policy's
deployment (or endpoint) itself. Judges that no environment asks are not started.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from gym_ray.collect.config import RunConfig
from gym_ray.models.config import ModelConfig
from gym_ray.models.connect import ListEndpoints
from gym_ray.models.judge import JudgeTable
from gym_ray.models.preflight import check_endpoint
from gym_ray.models.remote import api_key
from gym_ray.resources.judge import POLICY, judge_names
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.errors import UserError

Deploy = Callable[[ModelConfig, str], contextlib.AbstractContextManager[ListEndpoints | None]]
"""Brings a model up under an application's name, for the time of a ``with``; None for a remote endpoint."""


def asked_judges(config: RunConfig, servers: Mapping[str, type[ResourcesServer]]) -> list[str]:
    """Names of the judges that the run's environments ask, sorted.

    Raises:
        UserError: there is no such judge, or its settings cannot work.
    """
    known = JudgeTable({name: (model, None) for name, model in [*config.judges.items(), (POLICY, config.model)]})
    if POLICY in config.judges:
        raise UserError(f"judges.{POLICY}: that name stands for the policy's own deployment; choose another")
    asked: set[str] = set()
    for name, environment in config.envs.items():
        asked |= set(judge_names(name, servers[name].roles(environment.options), environment.judge, known).values())
    for name in sorted(asked - {POLICY}):
        _check(name, config.judges[name])
    return sorted(asked)


def check_endpoints(config: RunConfig, asked: list[str], say: Callable[[str], None]) -> None:
    """Look at the remote endpoints that rollouts and verifiers will ask. ``say``: takes notes. Raises UserError."""
    if config.recorded is None or POLICY in asked:
        check_endpoint("model", config.model, say)
    for name in asked:
        if name != POLICY:
            check_endpoint(f"judges.{name}", config.judges[name], say)


@contextlib.contextmanager
def judges_up(
    config: RunConfig, asked: list[str], policy: ListEndpoints | None, deploy: Deploy
) -> Iterator[JudgeTable]:
    """The judges ``asked``, up for the time of the run."""
    with contextlib.ExitStack() as stack:
        table: dict[str, tuple[ModelConfig, ListEndpoints | None]] = {}
        for name in asked:
            if name == POLICY:
                table[name] = (config.model, policy)
            else:
                judge = config.judges[name]
                table[name] = (judge, stack.enter_context(deploy(judge, f"judge-{name}")))
        yield JudgeTable(table)


def _check(name: str, judge: ModelConfig) -> None:
    if judge.kind == "openai" and not judge.base_url:
        raise UserError(f"judges.{name}.base_url is not set: it is the judge's address, like http://host:port/v1")
    if judge.kind == "vllm" and judge.serve.http_port is not None:
        raise UserError(f"judges.{name}.serve.http_port: only the policy has a public HTTP face; leave it unset")
    try:
        api_key(judge)
    except UserError as error:
        raise UserError(str(error).replace("model.", f"judges.{name}.", 1)) from None
