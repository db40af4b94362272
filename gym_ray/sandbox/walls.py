"""Command lines of the walls that other programs build: bubblewrap, Docker, Podman, Apptainer; and of having none.

In each the supervisor runs as an unprivileged user, without network, on a read-only root with a bounded ``/tmp``, and
adds its own limits and system call filter. Functions here only build lists of arguments.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from gym_ray.sandbox.config import SandboxConfig
from gym_ray.sandbox.guest.jail import UNUSED_USERS, USER
from gym_ray.sandbox.namespaces import FOLDER, guest_command
from gym_ray.sandbox.provider import UNSAFE
from gym_ray.sandbox.spawned import Spawned
from gym_ray.sandbox.visible import environment
from gym_ray.types.errors import UserError

GUEST = "/gym_ray"
"""Where the guest's code is inside."""
CONTAINERS = ("docker", "podman", "apptainer")
"""Providers that start an image."""
_DEVICES = ("null", "zero", "full", "random", "urandom")


def bubblewrap(view: dict[str, Any]) -> Spawned:
    """Sandboxes by ``bwrap``. A privileged process starts it as an unused user: bubblewrap would lend its own user to
    programs, and that user owns the machine's settings in ``/proc/sys``."""
    command = bubblewrap_command(view)
    user = UNUSED_USERS[-1] if os.geteuid() == 0 else None
    return Spawned("bubblewrap", lambda name: command, environment(), user=user)


def bubblewrap_command(view: dict[str, Any]) -> list[str]:
    """``bwrap ...`` for what a jail sees (:func:`gym_ray.sandbox.visible.view`)."""
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--as-pid-1", "--new-session", "--clearenv"]
    command += ["--hostname", "sandbox", "--uid", str(USER), "--gid", str(USER), "--cap-drop", "ALL"]
    for place in [*view["binds"], {"source": f"{FOLDER}/guest", "target": f"{GUEST}/guest"}]:
        command += ["--ro-bind", place["source"], place["target"]]
    for place in view["masks"]:
        command += ["--tmpfs", place, "--remount-ro", place]
    for link, target in view["links"].items():
        command += ["--symlink", target, link]
    for device in _DEVICES:
        command += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    command += ["--symlink", "/proc/self/fd", "/dev/fd", "--symlink", "/tmp", "/dev/shm"]
    command += ["--proc", "/proc", "--size", str(view["tmp_bytes"]), "--tmpfs", "/tmp", "--remount-ro", "/"]
    python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    return [*command, "--chdir", "/tmp", "--", *guest_command(python, "supervisor", folder=GUEST)]


def container(config: SandboxConfig) -> Spawned:
    """Sandboxes by a container program, from ``config.image``.

    Raises:
        UserError: no image is given.
    """
    if not config.image:
        raise UserError(f"sandbox: provider `{config.provider}` needs an image: set `sandbox.image`")
    if config.packages:
        raise UserError("sandbox: `packages` are those of the image with a container: leave `sandbox.packages` empty")
    engine = str(config.provider)
    env = {**environment(), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    if engine == "apptainer":
        return Spawned(engine, lambda name: apptainer_command(config), env)
    return Spawned(
        engine, lambda name: engine_command(engine, name, config), env, lambda name: [engine, "rm", "-f", name]
    )


def engine_command(engine: str, name: str, config: SandboxConfig) -> list[str]:
    """``docker run`` or ``podman run``. Memory and processes are bounded by the engine's control group as well."""
    memory = f"{config.memory_mb}m"
    command = [engine, "run", "--rm", "--interactive", "--name", name, "--network", "none", "--read-only"]
    command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", f"{USER}:{USER}"]
    command += ["--memory", memory, "--memory-swap", memory, "--pids-limit", str(config.processes + 4), "--cpus", "1"]
    command += ["--tmpfs", f"/tmp:rw,nosuid,nodev,size={config.tmp_mb}m,mode=1777", "--workdir", "/tmp"]
    command += ["--volume", f"{FOLDER}/guest:{GUEST}/guest:ro", "--entrypoint", "python3", str(config.image)]
    return [*command, *_in_image()[1:]]


def apptainer_command(config: SandboxConfig) -> list[str]:
    """``apptainer exec``."""
    command = ["apptainer", "--quiet", "exec", "--containall", "--cleanenv", "--no-home", "--no-privs"]
    command += ["--net", "--network", "none", "--pwd", "/tmp", "--bind", f"{FOLDER}/guest:{GUEST}/guest:ro"]
    return [*command, str(config.image), *_in_image()]


def no_wall() -> Spawned:
    """Plain processes of this user: limits and the system call filter hold, but files and processes can be seen."""
    command = guest_command(sys.executable, "supervisor")
    return Spawned(UNSAFE, lambda name: command, environment(), folder=True)


def _in_image() -> list[str]:
    # Unlike elsewhere its site-packages are wanted: they are the image's own.
    return [part for part in guest_command("python3", "supervisor", folder=GUEST) if part != "-S"]
