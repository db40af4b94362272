"""A server's YAML, resolved by NeMo Gym's own parser: ``_inherit_from``, ``_copy`` and interpolation mean the same.

What the parser asks of a whole deployment and a hosted server does not need is filled in: each instance that
the file mentions and does not define gets a stand-in of its name (calls to it go through ``outside``), and the
policy's address is empty, because the policy is ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gym_ray.integrations.nemo_gym.outside import HOST_SUFFIX
from gym_ray.types.errors import UserError

MODELS, RESOURCES, AGENTS = "responses_api_models", "resources_servers", "responses_api_agents"
MAX_VARIABLES = 50
_STAND_IN = {"gym_ray": {"entrypoint": "app.py"}}
_POLICY = {"policy_base_url": "", "policy_api_key": "", "policy_model_name": ""}  # pragma: allowlist secret


@dataclass(frozen=True)
class Resolved:
    """``everything``: NeMo Gym's global configuration (an OmegaConf mapping). ``instance``: the server's name in it.

    ``own``: the server's settings with ``name``, as its config class wants them.
    """

    everything: Any
    instance: str
    own: dict[str, Any]


def resolve(file: Path, server: str, overrides: dict[str, Any], instance: str | None = None) -> Resolved:
    """Parse ``file``. ``overrides`` are merged over it; their keys are its own top-level names.

    Raises:
        UserError: the file does not resolve (the parser's reason), or has no instance of ``server``.
    """
    from omegaconf import OmegaConf

    try:
        raw = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        base: dict[Any, Any] = {**_POLICY, **_settings(file), **_stand_ins(raw)}
        everything = _parsed(OmegaConf.merge(base, overrides), _variables(_own_parts(raw, server)))
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    except Exception as error:
        raise UserError(f"{file}: NeMo Gym cannot resolve it: {_first_lines(error)}") from error
    found = _instances(everything, server)
    chosen = instance if instance is not None else next(iter(found), None)
    if chosen is None or chosen not in found:
        names = ", ".join(found) or "none"
        raise UserError(f"{file}: no instance {instance or server!r} of the server `{server}` (it has {names})")
    _address(everything)
    try:
        own: Any = OmegaConf.to_container(everything[chosen][RESOURCES][server], resolve=True)
    except Exception as error:
        raise UserError(f"{file}: {chosen}: {_first_lines(error)}") from error
    return Resolved(everything, chosen, {**own, "name": chosen})


def referred_models(file: Path, server: str) -> tuple[str, ...]:
    """The model servers that the server's settings in ``file`` name: judges, user simulators and the like.

    Read without NeMo Gym, so what another file brings by ``_inherit_from`` is not seen.
    """
    raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    return tuple(dict.fromkeys(name for kind, name in _references(_own_parts(raw, server)) if kind == MODELS))


def _own_parts(raw: Any, server: str) -> list[Any]:
    """The server's settings in each instance of a file."""
    instances = raw.values() if isinstance(raw, dict) else ()
    return [one[RESOURCES].get(server) for one in instances if isinstance(one, dict) and RESOURCES in one]


def _variables(parts: list[Any]) -> set[str]:
    """Top-level values that settings refer to: ``${name}``."""
    return set(re.findall(r"\$\{(\w+)\}", str(parts)))


def _parsed(initial: Any, own: set[str]) -> Any:
    """The parser's result. Values that only other parts of a deployment (agents, models) ask for are left empty.

    Raises:
        UserError: the server itself asks for a value that nobody gave.
    """
    from nemo_gym import global_config
    from omegaconf.errors import InterpolationKeyError

    parser, settings = global_config.GlobalConfigDictParser(), _parser_settings(global_config, initial)
    for _ in range(MAX_VARIABLES):
        try:
            return parser.parse(settings)
        except InterpolationKeyError as error:
            found = re.search(r"Interpolation key '(\w+)' not found", str(error))
            if found is None:
                raise
            name = found[1]
            if name in own:
                raise UserError(f"the server needs `{name}`: env.options.overrides={{{name}: ...}}") from None
            initial[name] = ""
            settings = _parser_settings(global_config, initial)
    raise UserError(f"more than {MAX_VARIABLES} values are undefined")


def _settings(file: Path) -> dict[str, Any]:
    lenient = {"allow_openai_version_skew": True, "allow_unsupported_pairing": True, "error_on_almost_servers": False}
    return {"config_paths": [str(file)], **lenient}


def _parser_settings(global_config: Any, initial: Any) -> Any:
    """Older releases have no ``offline``: they look for free ports, which does no harm."""
    record = global_config.GlobalConfigDictParserConfig
    wanted = {"skip_load_from_cli": True, "skip_load_from_dotenv": True, "offline": True}
    known = {name: value for name, value in wanted.items() if name in record.model_fields}
    return record(initial_global_config_dict=initial, **known)


def _stand_ins(raw: Any) -> dict[str, Any]:
    defined = set(raw) if isinstance(raw, dict) else set()
    kinds = {"policy_model": MODELS, **{name: kind for kind, name in _references(raw)}}
    return {name: {kind: _STAND_IN} for name, kind in kinds.items() if name not in defined}


def _references(node: Any) -> Iterator[tuple[str, str]]:
    """Kind and name of each instance that a mapping with ``type`` and ``name`` names."""
    if isinstance(node, dict):
        kind, name = node.get("type"), node.get("name")
        if kind in (MODELS, RESOURCES, AGENTS) and isinstance(name, str) and "${" not in name and name != "???":
            yield kind, name
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _instances(everything: Any, server: str) -> list[str]:
    from omegaconf import DictConfig

    return [
        str(name)
        for name, value in everything.items_ex(resolve=False)
        if isinstance(value, DictConfig) and RESOURCES in value and server in value[RESOURCES]
    ]


def _address(everything: Any) -> None:
    """Give each instance a host that is its name: whoever builds an address from it says whom it means."""
    from omegaconf import DictConfig, open_dict

    for name, value in everything.items_ex(resolve=False):
        if not isinstance(value, DictConfig):
            continue
        for kind in (MODELS, RESOURCES, AGENTS):
            for settings in (value.get(kind) or {}).values() if kind in value else ():
                with open_dict(settings):
                    settings["host"], settings["port"] = f"{name}{HOST_SUFFIX}", 1


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])}"[:600]
