"""NeMo Gym's instances in an ``env.nemo_gym`` block: the files of ``config_paths``, and over them the block itself.

An instance is a top-level name with one of ``resources_servers``, ``responses_api_agents``, ``responses_api_models``
under it. Files are looked for below a checkout or the installed package. One that is not there is known by its path
alone: the server's folder, the file's name, and the agents that NeMo Gym names after them.

Format: NeMo Gym 0.5 to 0.7 (``config_paths``, ``_copy``, ``_inherit_from``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from gym_ray.types.errors import UserError

Json = dict[str, Any]
RESOURCES, AGENTS, MODELS = "resources_servers", "responses_api_agents", "responses_api_models"
KINDS = (RESOURCES, AGENTS, MODELS)
COPIES = ("_copy", "_inherit_from")
POLICY_MODEL = "policy_model"


@dataclass(slots=True)
class Resource:
    """A resources server. ``server``: its folder. ``file``: the stem of its YAML. ``given``: what the block itself
    says of it. ``settings``: that, over the file's."""

    name: str
    server: str
    file: str | None = None
    given: Json = field(default_factory=dict)
    settings: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent. ``resources``: the instance that it uses. ``model``: the model server that it asks. ``kind``: its
    folder under ``responses_api_agents``."""

    name: str
    resources: str
    model: str = POLICY_MODEL
    max_steps: int | None = None
    kind: str = "simple_agent"


@dataclass(slots=True)
class Instances:
    """Everything that the block asks for. ``models``: settings of model servers, by instance."""

    resources: dict[str, Resource] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    models: dict[str, Json] = field(default_factory=dict)


def read_instances(block: Mapping[str, Any], root: Path | None) -> Instances:
    """The instances of ``block``. ``root``: folder that holds ``resources_servers``, None when there is none.

    Raises:
        UserError: a file that cannot be read, an instance that copies one that is not there.
    """
    found = Instances()
    merged: dict[str, Json] = {}
    files: dict[str, str] = {}
    for path in block.get("config_paths") or ():
        own = _load(path, root)
        if own is None:
            _by_name(found, path)
        for name, value in (own or {}).items():
            if _is_instance(value):
                merged[name] = _merge(merged.get(name, {}), value)
                files[name] = PurePosixPath(path).stem
    given = {name: value for name, value in block.items() if _is_instance(value)}
    for name, value in given.items():
        merged[name] = _merge(merged.get(name, {}), value)
    for name in merged:
        _take(found, name, _copied(name, merged), files.get(name), given.get(name, {}))
    return found


def referred_model(settings: Mapping[str, Any]) -> str | None:
    """The model server that a server's settings name as judge (``judge_model_server``, ``genrm_model_server``)."""
    for key, value in settings.items():
        if key.endswith("_model_server") and isinstance(value, Mapping) and isinstance(value.get("name"), str):
            name: str = value["name"]
            return name
    return None


def _load(path: str, root: Path | None) -> Json | None:
    file = Path(path) if Path(path).is_absolute() else root / path if root is not None else None
    if file is None or not file.is_file():
        return None
    try:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"env.nemo_gym.config_paths: {file}: {' '.join(str(error).split())[:200]}") from None
    return loaded if isinstance(loaded, dict) else {}


def _by_name(found: Instances, path: str) -> None:
    """What a file that is not here would define, by NeMo Gym's conventions."""
    parts = PurePosixPath(path).parts
    if len(parts) < 4 or parts[-4] != RESOURCES:
        return
    server, stem = parts[-3], PurePosixPath(path).stem
    found.resources[stem] = Resource(stem, server, stem)
    for name in (f"{stem}_simple_agent", f"{stem}_agent"):
        found.agents[name] = Agent(name, stem)
    for name in (f"{server}_simple_agent", f"{server}_agent"):
        found.agents.setdefault(name, Agent(name, stem))


def _take(found: Instances, name: str, value: Json, file: str | None, given: Json) -> None:
    for server, settings in (value.get(RESOURCES) or {}).items():
        own = (given.get(RESOURCES) or {}).get(server) or {}
        known = None if file else _known_by_path(found, name, server)
        if known is not None:
            known.given, known.settings = dict(own), dict(settings or {})
        else:
            found.resources[name] = Resource(name, server, file, dict(own), dict(settings or {}))
    for kind, settings in (value.get(AGENTS) or {}).items():
        resources = ((settings or {}).get("resources_server") or {}).get("name")
        if resources:
            model = (settings.get("model_server") or {}).get("name") or POLICY_MODEL
            found.agents[name] = Agent(name, resources, model, settings.get("max_steps"), kind)
    for settings in (value.get(MODELS) or {}).values():
        found.models[name] = dict(settings or {})


def _known_by_path(found: Instances, name: str, server: str) -> Resource | None:
    """The server that the block speaks of, if its file is known by path alone."""
    if name in found.resources:
        return found.resources[name]
    same = [one for one in found.resources.values() if one.server == server and not one.settings]
    return same[0] if len(same) == 1 else None


def _copied(name: str, merged: Mapping[str, Json], seen: tuple[str, ...] = ()) -> Json:
    """The instance with what it copies filled in."""
    value = merged[name]
    source = next((value[key] for key in COPIES if key in value), None)
    if source is None:
        return value
    if source not in merged:
        # The policy's file may not be here; it says nothing that the trainer does not set itself.
        if source == POLICY_MODEL:
            return value
        raise UserError(f"env.nemo_gym.{name}: copies `{source}`, which no file of config_paths defines")
    if source in seen:
        raise UserError(f"env.nemo_gym.{name}: copies itself, by way of {', '.join(seen)}")
    return _merge(_copied(source, merged, (*seen, name)), value)


def _is_instance(value: Any) -> bool:
    return isinstance(value, Mapping) and any(key in value for key in (*KINDS, *COPIES))


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> Json:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(merged.get(key), Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def agents_of(found: Instances, resources: str) -> Iterator[Agent]:
    """The agents that use a resources server."""
    return (agent for agent in found.agents.values() if agent.resources == resources)
