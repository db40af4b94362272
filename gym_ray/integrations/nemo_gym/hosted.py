"""One NeMo Gym resources server, unmodified, as an application in this process.

Its entry point is imported with its own folder as working directory and first on the module path, because servers
import siblings and open files relative to it. So one process hosts one server. Nothing listens: its FastAPI
application is called through ASGI. State that NeMo Gym keeps per process (the resolved configuration, the shared
HTTP client) is set here, once.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from gym_ray.integrations.nemo_gym.asgi import Answer, Lifespan, call
from gym_ray.integrations.nemo_gym.outside import Exchange, ModelCall, route_clients
from gym_ray.integrations.nemo_gym.settings import Resolved
from gym_ray.integrations.nemo_gym.watching import watch_all
from gym_ray.types.errors import UserError, describe

CONTRACT_ROUTES = "seed_session close_session verify aggregate_metrics reverify_mode reset step close mcp run"
SERVER_ROUTES = "health healthz livez readyz docs redoc openapi.json stats"
RESERVED = frozenset(f"{CONTRACT_ROUTES} {SERVER_ROUTES}".split())
"""Routes that are no tools, whatever a model calls them."""


def prepare(root: Path) -> None:
    """Make ``nemo_gym`` of ``root`` importable. Its caches and results go to a folder of this process."""
    os.chdir(tempfile.mkdtemp(prefix="gym_ray-nemo_gym-"))
    if importlib.util.find_spec("nemo_gym") is None or str(root) not in sys.path:
        sys.path.insert(0, str(root))
    printed, path = builtins.print, list(sys.path)
    importlib.import_module("nemo_gym")
    sys.path[:] = path  # it had put its own site-packages last: other versions of what it needs would come first
    importlib.import_module("nemo_gym.server_utils")
    builtins.print = printed  # it had been replaced for all of the process


class HostedApp:
    """The application. ``stepwise``: it has ``/reset`` and ``/step`` instead of ``/verify``.

    Raises:
        UserError: the server cannot be imported, configured or built; the reason is NeMo Gym's.
    """

    def __init__(self, folder: Path, resolved: Resolved, models: Mapping[str, ModelCall]) -> None:
        self._resolved = resolved
        _install(resolved, models)
        server = self._built(folder)
        self.app = server.setup_webserver()
        if getattr(server.config, "expose_tools_over_mcp", False):
            from nemo_gym.mcp_auto_exposure import maybe_auto_expose

            maybe_auto_expose(server, self.app)
        server.setup_exception_middleware(self.app)
        self._lifespan = Lifespan(self.app)
        posts = (route for route in self.app.routes if "POST" in (getattr(route, "methods", None) or ()))
        paths = {route.path.lstrip("/") for route in posts}
        self.stepwise = {"reset", "step"} <= paths and "verify" not in paths
        self.closes = "close" in paths
        self.tools = frozenset(path for path in paths if "{" not in path and "/" not in path) - RESERVED
        self._any_tool = any(path.startswith("{") and path.endswith("}") and "/" not in path for path in paths)

    def has_tool(self, name: str) -> bool:
        """True for a tool's route; with a catch-all route, for every plain name that is no route of another kind."""
        if name in self.tools:
            return True
        return self._any_tool and name not in RESERVED and name.replace("-", "_").replace(".", "_").isidentifier()

    async def start(self) -> None:
        """Run its start-up hooks."""
        try:
            await self._lifespan.start()
        except RuntimeError as error:
            raise UserError(f"NeMo Gym's `{self._resolved.instance}` did not start: {error}") from error

    async def stop(self) -> None:
        """Run its shutdown hooks."""
        await self._lifespan.stop()

    async def post(self, route: str, body: Any, cookies: dict[str, str]) -> Answer:
        """One call within a session: ``cookies`` are sent and brought up to date."""
        answer = await call(self.app, f"/{route}", orjson.dumps(body, default=str), cookies)
        # An answer without cookies (an exception in a tool, say) does not end the session.
        cookies.update(answer.cookies)
        return answer

    def _built(self, folder: Path) -> Any:
        from nemo_gym.server_utils import ServerClient

        module = _import(folder, str(self._resolved.own.get("entrypoint") or "app.py"))
        server_class = _server_class(module)
        try:
            config = server_class.model_fields["config"].annotation.model_validate(self._resolved.own)
            head = ServerClient.load_head_server_config()
            client = ServerClient(head_server_config=head, global_config_dict=self._resolved.everything)
            return server_class(config=config, server_client=client)
        except Exception as error:
            raise UserError(f"NeMo Gym's `{self._resolved.instance}` cannot be made: {describe(error)}") from error


def _install(resolved: Resolved, models: Mapping[str, ModelCall]) -> None:
    from nemo_gym import global_config, server_utils

    global_config._GLOBAL_CONFIG_DICT = resolved.everything
    server_utils._GLOBAL_AIOHTTP_CLIENT = exchange = Exchange(models)
    watch_all()
    route_clients(exchange)


def _import(folder: Path, entrypoint: str) -> Any:
    file = folder / entrypoint
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    # Not its name as a package: NeMo Gym runs it as a program, and some servers import themselves by that name.
    name = f"gym_ray_hosted_{folder.name}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise UserError(f"NeMo Gym's `{folder.name}`: no entry point {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        need = folder / "requirements.txt"
        hint = f"; it lists what it needs in {need}: set env.placement=process" if need.is_file() else ""
        raise UserError(f"NeMo Gym's `{folder.name}` needs the module `{error.name}`{hint}") from error
    except Exception as error:
        raise UserError(f"NeMo Gym's `{folder.name}` cannot be imported: {describe(error)}") from error
    return module


def _server_class(module: Any) -> Any:
    """The class that the module's ``__main__`` part runs, else the last resources server class that it defines."""
    from nemo_gym.base_resources_server import SimpleResourcesServer

    run = re.findall(r"^\s+(\w+)\.run_webserver\(\)", Path(module.__file__).read_text(encoding="utf-8"), re.MULTILINE)
    if run and hasattr(module, run[-1]):
        return getattr(module, run[-1])
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, SimpleResourcesServer) and value.__module__ == module.__name__
    ]
    if not found:
        raise UserError(f"{module.__file__}: defines no resources server")
    return found[-1]
