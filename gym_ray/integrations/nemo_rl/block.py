"""From an ``env.nemo_gym`` block to the settings of a run of ours.

Each agent of the block that rows can name becomes (part of) an environment. It is ours where one of ours answers to
the agent's name (``aliases`` in ``conf/env``: same rows, same reward), else NeMo Gym's own server, hosted. Agents of
one server that differ in their model's template settings or their step limit are environments of their own.

What the block says of a server of ours becomes an option of ours where we have it under NeMo Gym's name; settings that
change nothing but how its processes run are dropped; any other is a :class:`UserError`: a reward is never computed by
other rules than the recipe's without a word.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gym_ray.collect.config import RunConfig
from gym_ray.collect.library import library
from gym_ray.integrations.nemo_rl.instances import (
    POLICY_MODEL,
    Agent,
    Instances,
    Resource,
    agents_of,
    read_instances,
    referred_model,
)
from gym_ray.integrations.nemo_rl.settings import GymRaySettings
from gym_ray.resources.judge import POLICY
from gym_ray.resources.load import load_server
from gym_ray.types.errors import UserError
from gym_ray.types.validation import explain

Json = dict[str, Any]
OURS = "gym_ray"
HOSTED = "gym_ray.integrations.nemo_gym:NemoGym"
PROCESS_ONLY = frozenset(
    {"entrypoint", "host", "port", "domain", "verified", "verified_url", "description", "value", "name", "license"}
    | {"num_workers", "num_processes", "debug", "debug_logging", "datasets", "genrm_parse_retry_sleep_s"}
    | {"judge_endpoint_max_concurrency", "cohort_collection_timeout_s", "cohort_evaluation_timeout_s"}
    | {"judge_request_timeout_s", "cohort_result_ttl_s", "max_terminal_cohorts"}
)
"""Settings of NeMo Gym's servers that decide how processes run, not what a rollout is worth."""
ELSEWHERE = frozenset({"num_rollouts_per_prompt", "should_use_judge", "aggregator_method"})
"""Settings that are honoured another way: group sizes here, the judge by the environment chosen."""
LOOPS = ("simple_agent", "gymnasium_agent")
"""NeMo Gym's agents that do what ours do: ask, run tools or steps, verify."""
JUDGE_PARAMS = ("judge_responses_create_params", "genrm_responses_create_params")


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """``config``: the run. ``environments``: environment by agent name. ``group_sizes``: the largest group of an
    environment whose verifier was told one. ``unserved``: why there is none, by agent name."""

    settings: GymRaySettings
    config: RunConfig
    environments: dict[str, str]
    group_sizes: dict[str, int]
    unserved: dict[str, str]


def settings_of(block: Mapping[str, Any]) -> GymRaySettings:
    """Our part of the block.

    Raises:
        UserError: one line per wrong setting.
    """
    try:
        return GymRaySettings.model_validate(block.get(OURS) or {})
    except ValidationError as error:
        raise UserError("\n".join(explain(error, "env.nemo_gym.gym_ray."))) from None


def plan_block(block: Mapping[str, Any], model: str, base_urls: Sequence[str], run_dir: str) -> BlockPlan:
    """The run that ``block`` asks for, against the trainer's generation servers.

    Raises:
        UserError: a setting or an environment that cannot be served, and the mend.
    """
    settings = settings_of(block)
    root = _root(settings.path)
    found = read_instances(block, root)
    maker = _Maker(found, settings, root)
    for resource in found.resources.values():
        maker.add(resource)
    for name, own in settings.envs.items():
        maker.add_ours(name, own)
    if not maker.envs:
        why = "; ".join(dict.fromkeys(maker.unserved.values())) or "config_paths names no resources server"
        raise UserError(f"env.nemo_gym: {why}, and env.nemo_gym.gym_ray.envs is empty")
    policy = {"name": model, "base_url": list(base_urls), "token_ids": "nemo_rl", "dialect": "chat"}
    fields = {
        "run_dir": run_dir,
        "envs": maker.envs,
        "model": {"timeout_s": 3600.0, **_policy(found), **settings.model, **policy},
        "judges": maker.judges,
        "agent": settings.agent,
        "collect": settings.collect,
    }
    try:
        config = RunConfig.model_validate(fields)
    except ValidationError as error:
        raise UserError("\n".join(explain(error, "env.nemo_gym.gym_ray."))) from None
    return BlockPlan(settings, config, maker.environments, maker.group_sizes, maker.unserved)


class _Maker:
    """Collects environments, instance by instance."""

    def __init__(self, found: Instances, settings: GymRaySettings, root: Path | None) -> None:
        self._found, self._settings, self._root = found, settings, root
        self._library = library()
        self.envs: dict[str, Json] = {}
        self.environments: dict[str, str] = {}
        self.judges: dict[str, Any] = dict(settings.judges)
        self.group_sizes: dict[str, int] = {}
        self.unserved: dict[str, str] = {}

    def add(self, resource: Resource) -> None:
        """The environments of one resources server's agents."""
        agents = list(agents_of(self._found, resource.name))
        if not agents:
            return
        native = self._native(resource, agents)
        agents = [agent for agent in agents if self._served(agent, native)]
        if not agents:
            return
        base = self._hosted(resource) if native is None else self._ours(resource, native)
        judge = referred_model(resource.settings or resource.given)
        if judge is not None and base["server"] != HOSTED:
            base["judge"] = self._judge(judge, resource)
        size = resource.settings.get("num_rollouts_per_prompt")
        for agent in agents:
            variant = {"agent": _limits(agent), "sampling": _template(self._found, agent.model)}
            name = self._place(resource.name, {**base, **{key: value for key, value in variant.items() if value}})
            self.envs[name]["aliases"] = [*self.envs[name]["aliases"], agent.name]
            self.environments[agent.name] = name
            if size is not None:
                self.group_sizes[name] = int(size)

    def add_ours(self, name: str, own: Json) -> None:
        """``gym_ray.envs.NAME``: over an environment that is there, or one of the library, or of its own."""
        under = self.envs.get(name) or ({} if "server" in own else self._library.get(name))
        if under is None:
            raise UserError(f"env.nemo_gym.gym_ray.envs.{name}: gym_ray has no such environment; say its `server`")
        options = {**(under.get("options") or {}), **(own.get("options") or {})}
        self.envs[name] = {**under, **own, "options": options}
        for alias in (name, *(self.envs[name].get("aliases") or ())):
            self.environments[alias] = name

    def _place(self, wanted: str, settings: Json) -> str:
        """The name under which these settings stand: agents that ask for the same share an environment."""
        name, number = wanted, 2
        while name in self.envs:
            if {**self.envs[name], "aliases": []} == {**settings, "aliases": []}:
                return name
            name, number = f"{wanted}-{number}", number + 1
        self.envs[name] = {**settings, "aliases": []}
        return name

    def _served(self, agent: Agent, native: str | None) -> bool:
        if native is not None or agent.kind in LOOPS:
            return True
        self.unserved[agent.name] = f"NeMo Gym's `{agent.kind}` is a loop of its own, which gym_ray does not have"
        return False

    def _ours(self, resource: Resource, native: str) -> Json:
        under = self._library[native]
        options = {**(under.get("options") or {}), **_options(under["server"], native, resource)}
        return {**under, "options": options}

    def _native(self, resource: Resource, agents: Sequence[Agent]) -> str | None:
        """The environment of ours that rows for these agents find, unless NeMo Gym's own is asked for."""
        hosted = self._settings.hosted
        if hosted is True or (isinstance(hosted, list) and resource.server in hosted):
            return None
        names = {agent.name for agent in agents}
        able = [name for name, env in self._library.items() if names & set(env.get("aliases") or ())]
        if (resource.settings or resource.given).get("should_use_judge") is False:
            able = [name for name in able if not load_server(self._library[name]["server"]).judge_roles] or able
        for name in (resource.name, resource.file, resource.server):
            if name in able:
                return name
        return able[0] if able else None

    def _hosted(self, resource: Resource) -> Json:
        if self._root is None or not (self._root / "resources_servers" / resource.server).is_dir():
            raise UserError(
                f"env.nemo_gym: gym_ray has no environment of its own for `{resource.name}`, and NeMo Gym's server "
                f"`{resource.server}` is not here to be hosted: pip install --no-deps nemo-gym, or set "
                "env.nemo_gym.gym_ray.path to a checkout"
            )
        overrides = {resource.name: {"resources_servers": {resource.server: resource.given}}} if resource.given else {}
        options: Json = {"server": resource.server, "config": resource.file, "instance": resource.name}
        if overrides:
            options["overrides"] = overrides
        if self._settings.path is not None:
            options["path"] = str(self._root)
        for model in _roles(resource.settings):
            self._judge(model, resource)
        judge = next(iter(_roles(resource.settings)), None)
        return {"server": HOSTED, "options": options, **({"judge": self._name(judge)} if judge else {})}

    def _judge(self, name: str, resource: Resource) -> str:
        """The judge that stands for a model server of NeMo Gym's, made from its settings where they suffice."""
        if name == POLICY_MODEL or name in self.judges:
            return self._name(name)
        settings = self._found.models.get(name, {})
        url, model = settings.get("base_url"), settings.get("model")
        if not url or not model or "${" in f"{url}{model}":
            raise UserError(
                f"env.nemo_gym.gym_ray.judges.{name}: the judge of `{resource.name}`; say how it is reached "
                "(base_url, name, api_key_env), or let us serve it (kind: vllm, serve: {path: ...})"
            )
        self.judges[name] = {"name": model, "base_url": url}
        return name

    def _name(self, model: str) -> str:
        return POLICY if model == POLICY_MODEL else model


def _options(server: str, native: str, resource: Resource) -> Json:
    """NeMo Gym's settings as options of our class. Those of the file itself are its defaults, and ours: only what
    the block says is looked at."""
    takes = inspect.signature(load_server(server).__init__).parameters
    free = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in takes.values())
    options: Json = {}
    for key, value in resource.given.items():
        if key in JUDGE_PARAMS:
            options["judge_params"] = {name: one for name, one in (value or {}).items() if name != "input"}
        elif key in takes or (free and not _dropped(key)):
            options[key] = value
        elif not _dropped(key):
            raise UserError(
                f"env.nemo_gym.{resource.name}: `{key}` is no option of gym_ray's `{native}`; leave it out, or host "
                f"NeMo Gym's own server: env.nemo_gym.gym_ray.hosted: [{resource.server}]"
            )
    return options


def _dropped(key: str) -> bool:
    return key in PROCESS_ONLY or key in ELSEWHERE or key.endswith("_model_server")


def _limits(agent: Agent) -> Json:
    return {"max_turns": agent.max_steps} if agent.max_steps else {}


def _policy(found: Instances) -> Json:
    """Fields that the policy's model server adds to every request."""
    settings = found.models.get(POLICY_MODEL, {})
    body = dict(settings.get("extra_body") or {})
    if settings.get("chat_template_kwargs"):
        body["chat_template_kwargs"] = settings["chat_template_kwargs"]
    return {"extra_body": body} if body else {}


def _template(found: Instances, model: str) -> Json:
    """Template settings of an agent that asks the policy under another name (``policy_model_reasoning_off``)."""
    own = {} if model == POLICY_MODEL else found.models.get(model, {}).get("chat_template_kwargs")
    return {"chat_template_kwargs": dict(own)} if own else {}


def _roles(settings: Mapping[str, Any]) -> list[str]:
    names = [
        value["name"]
        for key, value in settings.items()
        if key.endswith("_model_server") and isinstance(value, Mapping) and isinstance(value.get("name"), str)
    ]
    return list(dict.fromkeys(name for name in names if not re.search(r"\?\?\?|\$\{", name)))


def _root(path: str | None) -> Path | None:
    """The folder that holds NeMo Gym's ``resources_servers``."""
    if path is not None:
        root = Path(path).expanduser().resolve()
        if not (root / "resources_servers").is_dir():
            raise UserError(f"env.nemo_gym.gym_ray.path: no folder resources_servers in {root}")
        return root
    spec = importlib.util.find_spec("nemo_gym")
    root = Path(spec.origin).resolve().parent.parent if spec is not None and spec.origin else Path()
    return root if (root / "resources_servers").is_dir() else None
