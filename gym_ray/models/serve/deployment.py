"""The model as a Ray Serve application.

Serve owns what it is good at: replicas, placement, health, restarts, and the public HTTP face. Agents do
not pass through it: each replica opens its own :class:`~gym_ray.models.serve.listener.Listener` on its
event loop and announces it in :class:`~gym_ray.models.serve.endpoints.Endpoints`. Both doors lead to the
same :class:`~gym_ray.models.serve.app.App`. Whatever ``model.serve.engine`` names is built in the replica.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import logging
import os
import time
from importlib.resources import files
from typing import Any, ClassVar

import ray
from ray import serve
from ray.exceptions import RayTaskError
from ray.serve.schema import ApplicationStatus
from starlette.applications import Starlette
from starlette.routing import Mount

from gym_ray.models.config import ModelConfig, ServeConfig
from gym_ray.models.remote import secret_of
from gym_ray.models.serve import checkpoint
from gym_ray.models.serve.app import App
from gym_ray.models.serve.claim import claim, release
from gym_ray.models.serve.desired import DesiredState
from gym_ray.models.serve.endpoints import Endpoints, own_name
from gym_ray.models.serve.engine import Responder
from gym_ray.models.serve.listener import Listener
from gym_ray.models.serve.live import Followed, Follower, PauseMode
from gym_ray.models.serve.meters import ReplicaMeters
from gym_ray.models.serve.policy import Policy
from gym_ray.models.serve.scaling import CALLS, replica_options
from gym_ray.types.errors import UserError, describe

PACKAGE = "package://"
GRACE_S = 20.0
"""Seconds that calls in flight get when a replica is told to go."""
POLL_S = 0.2
DEPLOYMENT_OPTIONS: dict[str, Any] = {
    "name": "model",
    # The engine queues and batches; a limit in front of it would only starve it.
    "max_ongoing_requests": 100_000,
    "health_check_period_s": 2.0,
    "health_check_timeout_s": 60.0,
    "graceful_shutdown_wait_loop_s": 0.1,
    "graceful_shutdown_timeout_s": GRACE_S + 20.0,
    "max_constructor_retry_count": 2,
}


class Replica:
    """One replica: an engine or responder, its app, its listener, and what keeps its weights up to date."""

    serving: ClassVar[App]
    """The app of this process, for Serve's door."""

    async def __init__(self, config: ModelConfig, app_name: str) -> None:  # type: ignore[misc]  # Serve awaits it
        self._endpoints = Endpoints(app_name)
        self._responder = build_responder(config)
        await self._responder.start()
        self._meters = ReplicaMeters(app_name)
        self._weights = _with_local_path(config.serve).path
        live = getattr(self._responder, "live", None)
        self._follower = Follower(live, DesiredState(app_name), own_name()) if live is not None else None
        report = await self._follower.follow() if self._follower is not None else None
        if report is not None and report.error:
            raise RuntimeError(f"the newest weights cannot be loaded: {report.error}")
        user_key = self._endpoints.user_key()
        keys = [user_key] if user_key else []
        Replica.serving = App(self._responder, config.name, keys)
        # The public door may be an open one. This one listens where strangers may be: it never is.
        inner = App(self._responder, config.name, [self._endpoints.token(), *keys])
        self._doors = (Replica.serving, inner)
        self._listener = Listener(inner)
        host = config.serve.listen_host or ray.util.get_node_ip_address()
        self._address = await self._listener.open(host)
        self._listed = False
        await self.check_health()

    async def check_health(self) -> None:
        """Called by Serve, which replaces a replica that keeps raising. Agents are sent elsewhere at once."""
        try:
            await self._responder.health()
            if self._follower is not None and self._follower.broken:
                raise RuntimeError(self._follower.broken)
        except Exception:
            self._withdraw()
            raise
        if self._follower is not None and await self._follower.behind():
            # Told while it was out of reach. Loading may take longer than a health check.
            self._catching_up = asyncio.create_task(self.follow("keep"))
        self._meters.tell(self._calls(), getattr(self._responder, "kv_used", None))
        if not self._listed:
            self._endpoints.announce(self._address)
            self._listed = True

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Asked by Serve, every few seconds, where the number of replicas is not fixed."""
        return {CALLS: float(self._calls())}

    def _calls(self) -> int:
        return sum(door.calls for door in self._doors)

    def _withdraw(self) -> None:
        self._listed = False
        self._endpoints.withdraw()

    async def follow(self, mode: PauseMode) -> Followed:
        """Go where the desired state is; called on all replicas after it changed."""
        assert self._follower is not None, "check_weights was asked first"
        report = await self._follower.follow(mode)
        if self._follower.broken:
            self._withdraw()
        return report

    async def check_weights(self, path: str | None, shapes: checkpoint.Shapes | None) -> str | None:
        """Why weights at ``path``, or of these ``shapes``, cannot be this model's; None when they can.

        With neither: whether weights can change at all.
        """
        if self._follower is None:
            return "this engine's weights cannot change while it runs"
        return None if path is None and shapes is None else await asyncio.to_thread(self._compare, path, shapes)

    def _compare(self, path: str | None, shapes: checkpoint.Shapes | None) -> str | None:
        try:
            new = checkpoint.shapes(path) if shapes is None and path is not None else shapes
            if self._weights is None or not os.path.isdir(self._weights):
                return None  # A name on a hub: what the model consists of is known to the engine alone.
            return checkpoint.difference(new or {}, checkpoint.shapes(self._weights))
        except UserError as error:
            return str(error)

    async def __del__(self) -> None:
        # Serve awaits this once, after its own requests have ended.
        self._endpoints.withdraw()
        await self._listener.close(GRACE_S)
        await self._responder.stop()


def _serve_door() -> Starlette:
    """Built by Serve in the replica: everything goes on to the replica's app."""

    async def door(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await Replica.serving(scope, receive, send)

    return Starlette(routes=[Mount("/", door)])


def build_responder(config: ModelConfig) -> Responder:
    """What ``model.serve.engine`` names, to be started.

    Raises:
        UserError: the settings cannot work.
    """
    settings = _with_local_path(config.serve)
    engine = _engine_class(settings)(config.model_copy(update={"serve": settings}))
    return engine if isinstance(engine, Responder) else Policy(engine, config)


def _engine_class(settings: ServeConfig) -> Any:
    module, _, name = settings.engine.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"model.serve.engine={settings.engine}: {describe(error)}") from error


def _with_local_path(settings: ServeConfig) -> ServeConfig:
    return settings if settings.path is None else settings.model_copy(update={"path": local_path(settings.path)})


def local_path(path: str) -> str:
    """``package://some.package/folder`` as the folder's path on this machine; anything else as it is.

    Raises:
        UserError: there is no such package or folder.
    """
    if not path.startswith(PACKAGE):
        return path
    package, _, folder = path.removeprefix(PACKAGE).partition("/")
    try:
        found = files(package).joinpath(folder)
    except ModuleNotFoundError as error:
        raise UserError(f"model.serve.path={path}: {error}") from error
    if not found.is_dir():
        raise UserError(f"model.serve.path={path}: no folder {folder!r} in {package}")
    return str(found)


def deploy(config: ModelConfig, app_name: str = "model") -> Endpoints:
    """Bring the model up on the Ray cluster this process is connected to, and wait until it answers.

    Deploying the same settings again changes nothing; other settings under the same name replace the model. While
    this process lives, or until it undeploys, nobody else may do either.

    Raises:
        UserError: the settings cannot work, the name belongs to another run, or the replicas did not start (the
            reason is their last line).
    """
    settings = config.serve
    build_responder(config)
    secret_of("model.serve.api_key_env", settings.api_key_env)
    _check_gpus(settings)
    claim(app_name)
    _start_serve(settings)
    route = "/" if settings.http_port else None
    target = serve.RunTarget(application(config, app_name), name=app_name, route_prefix=route)
    serve.run_many([target], wait_for_applications_running=False)
    _wait_until_running(app_name, settings.startup_timeout_s)
    if settings.http_port and not serve.status().proxies:
        undeploy(app_name)
        raise UserError(f"model.serve.http_port={settings.http_port}: Ray Serve already runs here without a proxy")
    return Endpoints(app_name)


def application(config: ModelConfig, app_name: str) -> serve.Application:
    """The model, ready to be run by Serve under ``app_name``; its replicas' keys and state are set.

    Raises:
        UserError: the variable that holds the public key is not set.
    """
    Endpoints(app_name).set_user_key(secret_of("model.serve.api_key_env", config.serve.api_key_env))
    DesiredState(app_name).begin(hashlib.sha256(config.model_dump_json().encode()).hexdigest())
    replica = serve.deployment(serve.ingress(_serve_door)(Replica))
    options = {**DEPLOYMENT_OPTIONS, **replica_options(config.serve), **placement(config.serve)}
    return replica.options(**options).bind(config, app_name)


def undeploy(app_name: str = "model") -> None:
    """Take the model down; returns when its replicas are gone."""
    serve.delete(app_name)
    DesiredState(app_name).clear()
    release(app_name)


def placement(settings: ServeConfig) -> dict[str, Any]:
    """Resources of one replica, in the words of ``serve.deployment``.

    A replica on one node holds all its GPUs itself, and vLLM's worker processes share them. One that spans
    nodes (pipeline parallel, or ``distributed_executor_backend: ray``) gets a placement group with one
    bundle per worker, which vLLM's Ray executor finds and fills.
    """
    arguments = settings.engine_args
    tensor, pipeline = arguments.get("tensor_parallel_size", 1), arguments.get("pipeline_parallel_size", 1)
    options: dict[str, Any] = {"num_cpus": settings.num_cpus, "runtime_env": {"env_vars": _environment(settings)}}
    if settings.resources:
        options["resources"] = settings.resources
    spans = settings.num_gpus > 0 and (pipeline > 1 or arguments.get("distributed_executor_backend") == "ray")
    if not spans:
        where = {"label_selector": settings.labels} if settings.labels else {}
        return {"ray_actor_options": {**options, "num_gpus": settings.num_gpus * tensor, **where}}
    worker = {"CPU": 1.0, "GPU": settings.num_gpus}
    first = {**worker, "CPU": 1.0 + settings.num_cpus, **settings.resources}
    group: dict[str, Any] = {
        "ray_actor_options": options,
        "placement_group_bundles": [first] + [worker] * (tensor * pipeline - 1),
        "placement_group_strategy": "PACK",
    }
    if settings.labels:
        group["placement_group_bundle_label_selector"] = [settings.labels] * (tensor * pipeline)
    return group


def _check_gpus(settings: ServeConfig) -> None:
    """A Ray that this process started has the GPUs of this machine and never more: do not wait for others."""
    arguments = settings.engine_args
    workers = arguments.get("tensor_parallel_size", 1) * arguments.get("pipeline_parallel_size", 1)
    wanted, there = settings.num_gpus * workers * settings.num_replicas, ray.cluster_resources().get("GPU", 0.0)
    node = ray._private.worker._global_node
    if wanted > there and node is not None and node.is_head():
        raise UserError(
            f"model.serve.num_gpus={settings.num_gpus:g}: the model wants {wanted:g} GPU(s), this machine has "
            f"{there:g}; num_gpus=0 is the CPU engine, model=tiny needs nothing else"
        )


def _environment(settings: ServeConfig) -> dict[str, str]:
    """vLLM reports usage to its makers unless told not to, and logs a page per start."""
    quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    return {**quiet, **settings.env}


def _start_serve(settings: ServeConfig) -> None:
    """Start Serve unless it runs; its proxy settings are then what they are."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if settings.http_port is None:
        serve.start(proxy_location="Disabled")
    else:
        options = {"host": settings.http_host, "port": settings.http_port}
        try:
            serve.start(proxy_location="HeadOnly", http_options=options)
        except RayTaskError as error:
            # Serve stays behind half started, and would tell the next one that all is well.
            serve.shutdown()
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"model.serve.http_port={settings.http_port}: {reason}") from None


def _wait_until_running(app_name: str, timeout_s: float) -> None:
    deadline, pause_s = time.monotonic() + timeout_s, POLL_S
    while True:
        application = serve.status().applications[app_name]
        if application.status == ApplicationStatus.RUNNING:
            return
        if application.status == ApplicationStatus.DEPLOY_FAILED or time.monotonic() > deadline:
            break
        time.sleep(pause_s)
        # Each look costs some 10 ms of CPU here and in Serve's controller, and what starts needs them too.
        pause_s = min(1.0, pause_s * 1.1)
    notes = [application.message, *(one.message for one in application.deployments.values())]
    lines = [line.strip() for note in notes for line in note.splitlines() if line.strip()]
    reason = lines[-1] if lines else f"not ready after {timeout_s:g} s"
    undeploy(app_name)
    raise UserError(f"model {app_name!r} did not start: {reason}")
