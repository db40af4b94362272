"""What of a run can be found out to be wrong before it starts, without a GPU and without Ray.

Each check says what it looked at and what it found; what cannot be seen from here is said as well, so that nobody takes
silence for a yes. The same for a recipe and for any other run.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from gym_ray.collect.config import RunConfig
from gym_ray.collect.judges import asked_judges
from gym_ray.collect.tasks.bad_rows import BadRow
from gym_ray.collect.tasks.reader import TaskReader
from gym_ray.models.config import ModelConfig
from gym_ray.resources.load import load_server, make_server
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.errors import UserError, describe

Verdict = Literal["ok", "wrong", "unseen"]
ROWS = 200
"""Task rows looked at."""


@dataclass(frozen=True, slots=True)
class Check:
    """``subject``: what was looked at. ``unseen``: it cannot be told from here."""

    verdict: Verdict
    subject: str
    note: str = ""


def check_run(config: RunConfig) -> Iterator[Check]:
    """All checks, cheap ones first."""
    servers: dict[str, type[ResourcesServer]] = {}
    for name in config.envs:
        yield _environment(config, name, servers)
    sound = config.model_copy(update={"envs": {name: config.envs[name] for name in servers}})
    yield from _judges(sound, servers)
    yield from _tasks(config, sound, servers)
    yield from _model("model", config.model)
    yield _directory(config.run_dir)
    yield Check("unseen", "GPUs, memory, network between nodes", "the cluster is not asked; the plan is arithmetic")


def _environment(config: RunConfig, name: str, servers: dict[str, type[ResourcesServer]]) -> Check:
    environment = config.envs[name]
    try:
        server = load_server(environment.server)
        if environment.requirements or environment.python:
            return Check("unseen", f"envs.{name}", "has a Python of its own, made when the run starts")
        make_server(environment)
        servers[name] = server
    except UserError as error:
        return Check("wrong", f"envs.{name}", str(error))
    except Exception as error:
        return Check("wrong", f"envs.{name}", describe(error))
    return Check("ok", f"envs.{name}", environment.server)


def _judges(config: RunConfig, servers: dict[str, type[ResourcesServer]]) -> Iterator[Check]:
    try:
        asked = asked_judges(config, servers)
    except UserError as error:
        yield Check("wrong", "judges", str(error))
        return
    for name in asked:
        if name in config.judges:
            yield from _model(f"judges.{name}", config.judges[name])
        else:
            yield Check("ok", f"judges: {name}", "the policy's own deployment")


def _tasks(config: RunConfig, sound: RunConfig, servers: dict[str, type[ResourcesServer]]) -> Iterator[Check]:
    if len(sound.envs) < len(config.envs) and config.tasks.path:
        yield Check("unseen", "tasks", "rows of environments that cannot be made cannot be checked")
        return
    try:
        reader = TaskReader(config.tasks, sound.envs, servers)
        rows = list(islice(reader, ROWS))
    except UserError as error:
        yield Check("wrong", "tasks", f"{error} (gym-ray tasks prepare makes a recipe's files)")
        return
    bad = [row for row in rows if isinstance(row, BadRow)]
    files = sum(source.size for source, _ in reader.sources)
    if bad:
        yield Check("wrong", "tasks", f"{len(bad)} of the first {len(rows)} rows: {bad[0].lines()[0]}")
    elif not rows:
        yield Check("wrong", "tasks", "no task in the files")
    else:
        yield Check(
            "ok", "tasks", f"the first {len(rows):,} rows of {len(reader.sources)} file(s), {files / 1e6:,.1f} MB"
        )


def _model(key: str, model: ModelConfig) -> Iterator[Check]:
    yield from _secret(f"{key}.api_key_env", model.api_key_env)
    if model.kind != "vllm":
        yield Check("unseen", f"{key}: {model.name}", f"the endpoint {model.base_url} is not asked")
        return
    serve = model.serve
    yield from _secret(f"{key}.serve.api_key_env", serve.api_key_env)
    yield from _weights(key, serve.path)
    yield from _arguments(key, serve.engine_args)
    yield from _parsers(key, model)
    if serve.http_port:
        yield _port(f"{key}.serve.http_port", serve.http_host, serve.http_port)


def _secret(key: str, variable: str | None) -> Iterator[Check]:
    if variable:
        there = bool(os.environ.get(variable))
        yield Check("ok" if there else "wrong", key, f"${variable} is {'set' if there else 'not set here'}")


def _weights(key: str, path: str | None) -> Iterator[Check]:
    from gym_ray.models.serve.deployment import local_path

    subject = f"{key}.serve.path"
    if not path:
        yield Check("wrong", subject, "names no weights")
        return
    try:
        local = local_path(path)
    except UserError as error:
        yield Check("wrong", subject, str(error))
        return
    if Path(local, "config.json").is_file():
        yield Check("ok", subject, path)
    elif Path(local).exists() or path.startswith(("/", ".", "~")):
        yield Check("wrong", subject, f"{path}: no config.json there")
    else:
        yield Check("unseen", subject, f"{path} is a hub name; each node needs it in its cache, or the hub")


def _arguments(key: str, arguments: dict[str, Any]) -> Iterator[Check]:
    subject = f"{key}.serve.engine_args"
    known = _engine_fields()
    if known is None:
        yield Check("unseen", subject, "vLLM is not installed here")
        return
    wrong = [name for name in arguments if name not in known]
    for name in wrong:
        near = get_close_matches(name, known, 1)
        yield Check(
            "wrong", subject, f"`{name}` is no argument of this vLLM" + (f"; nearest: {near[0]}" if near else "")
        )
    if not wrong:
        yield Check("ok", subject, ", ".join(arguments) or "none")


def _engine_fields() -> list[str] | None:
    if importlib.util.find_spec("vllm") is None:
        return None
    from vllm.engine.arg_utils import AsyncEngineArgs

    return [field.name for field in dataclasses.fields(AsyncEngineArgs)]


def _parsers(key: str, model: ModelConfig) -> Iterator[Check]:
    if importlib.util.find_spec("vllm") is None:
        yield Check("unseen", f"{key}: parsers", "vLLM is not installed here")
        return
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    serve = model.serve
    for plugin in serve.parser_plugins:
        there = Path(plugin).is_file()
        yield Check("ok" if there else "wrong", f"{key}.serve.parser_plugins", plugin if there else f"no file {plugin}")
        if there:
            ToolParserManager.import_tool_parser(plugin)
            ReasoningParserManager.import_reasoning_parser(plugin)
    wanted = (
        ("tool_parser", serve.tool_parser, ToolParserManager.list_registered()),
        ("reasoning_parser", serve.reasoning_parser, ReasoningParserManager.list_registered()),
    )
    for name, chosen, known in wanted:
        if chosen is not None:
            near = get_close_matches(chosen, known, 1)
            note = chosen if chosen in known else f"vLLM has no {chosen}" + (f"; nearest: {near[0]}" if near else "")
            yield Check("ok" if chosen in known else "wrong", f"{key}.serve.{name}", note)


def _port(key: str, host: str, port: int) -> Check:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Check("wrong", key, f"{port}: cannot listen at {host} ({error.strerror})")
    return Check("ok", key, f"{port} is free on this machine")


def _directory(address: str) -> Check:
    if "://" in address:
        return Check("unseen", "run_dir", f"{address}: a remote filesystem is not written to for a test")
    place = Path(address).expanduser().absolute()
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        return Check("wrong", "run_dir", f"{place} cannot be written to")
    return Check("ok", "run_dir", address)
