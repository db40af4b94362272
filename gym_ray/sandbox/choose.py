"""Which wall this machine can build, found out by building one. Once per process and setting."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from gym_ray.sandbox import walls
from gym_ray.sandbox.command import Command, Limits
from gym_ray.sandbox.config import MIB, SandboxConfig
from gym_ray.sandbox.namespaces import Namespaces
from gym_ray.sandbox.provider import UNSAFE, Provider, SandboxUnavailable
from gym_ray.sandbox.visible import view
from gym_ray.types.errors import UserError

log = logging.getLogger(__name__)


def choose(config: SandboxConfig) -> Provider:
    """A provider that has been seen to work here; a new one at each call.

    Raises:
        UserError: none works and `allow_unsafe` is not set, or a setting is wrong.
    """
    return _make(_found(config.model_dump_json()), config)


@lru_cache(maxsize=32)
def _found(settings: str) -> str:
    config = SandboxConfig.model_validate_json(settings)
    wanted = ["namespaces", "bubblewrap"] if config.provider == "auto" else [config.provider]
    problems = []
    for name in wanted:
        problem = _problem(name, config)
        if problem is None:
            return name
        problems.append(f"{name}: {problem}")
    if config.allow_unsafe:
        log.warning("sandbox: NO ISOLATION, programs can read and change files here (%s)", "; ".join(problems))
        return UNSAFE
    mend = "enable user namespaces, install bubblewrap, or choose a container `sandbox.provider`"
    raise UserError(
        f"sandbox: no isolation can be had on this machine ({'; '.join(problems)}): {mend};"
        " `sandbox.allow_unsafe=true` runs programs without any"
    )


def _make(name: str, config: SandboxConfig) -> Provider:
    if name == UNSAFE:
        return walls.no_wall()
    if name in ("namespaces", "bubblewrap"):
        seen = view(tuple(config.packages), config.tmp_mb * MIB)
        return Namespaces(seen) if name == "namespaces" else walls.bubblewrap(seen)
    return walls.container(config)


def _problem(name: str, config: SandboxConfig) -> str | None:
    provider = _make(name, config)
    # A loop of its own: whoever makes an environment may already be on one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _try(provider, config.packages)).result()


async def _try(provider: Provider, packages: list[str]) -> str | None:
    try:
        sandbox = await provider.start()
        # Only looks for packages: importing some takes seconds.
        source = f"import importlib.util as u; [n for n in {packages!r} if not u.find_spec(n)] and exit('no packages')"
        result = await sandbox.run(Command(python=source), Limits(wall_s=60.0))
        sandbox.close()
        return None if result.ok else f"a first program failed: {result.stderr.decode(errors='replace')[-300:]}"
    except SandboxUnavailable as error:
        return str(error)
    finally:
        await provider.aclose()
