"""Which wall is chosen, what is refused, the command lines of the others, and jails of an unprivileged user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gym_ray.sandbox import Command, Limits, SandboxConfig, SandboxPool, SandboxUnavailable, choose, walls
from gym_ray.sandbox.namespaces import Namespaces
from gym_ray.sandbox.visible import view
from gym_ray.types.errors import UserError
from tests.sandbox.conftest import settled

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def no_wall(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine that allows nothing."""

    async def refuses(provider: Namespaces) -> None:
        raise SandboxUnavailable("new namespaces: Operation not permitted")

    monkeypatch.setattr(Namespaces, "start", refuses)
    monkeypatch.setenv("PATH", "/nowhere")
    choose._found.cache_clear()
    yield
    choose._found.cache_clear()


def test_without_a_wall_it_refuses_in_one_line(no_wall: None) -> None:
    with pytest.raises(UserError) as refused:
        SandboxPool(SandboxConfig())
    message = str(refused.value)
    assert "\n" not in message
    for part in ("no isolation", "Operation not permitted", "bubblewrap", "sandbox.allow_unsafe=true"):
        assert part in message


async def test_allowed_to_be_unsafe_it_runs_and_says_so(no_wall: None, caplog: pytest.LogCaptureFixture) -> None:
    pool = SandboxPool(SandboxConfig(allow_unsafe=True, warm=0))
    assert pool.provider == "unsafe"
    assert "NO ISOLATION" in caplog.text
    async with pool.sandbox() as sandbox:
        daemon = "import os, time\nif os.fork() == 0:\n  os.setsid(); time.sleep(60)\nprint(os.getcwd(), os.getpid())"
        result = await sandbox.run(Command(python=daemon), pool.limits)
        assert result.ok, result
        work = result.stdout.decode().split()[0]
        late = await sandbox.run(Command(python="import time; time.sleep(60)"), Limits(wall_s=0.5))
        assert late.killed == "deadline"
        assert (await sandbox.execute("x = 1\nx")).stdout == b"1\n"
        assert os.path.isdir(work)  # noqa: ASYNC240
    await pool.aclose()
    assert not os.path.exists(work)  # noqa: ASYNC240
    assert not settled()


async def test_unsafe_is_only_the_last_resort(pool: SandboxPool) -> None:
    other = SandboxPool(SandboxConfig(allow_unsafe=True, warm=0))
    assert other.provider == pool.provider != "unsafe"


@pytest.mark.parametrize("provider", ["docker", "podman", "apptainer"])
def test_containers_need_an_image_and_no_packages(provider: Any) -> None:
    with pytest.raises(UserError, match=r"needs an image: set `sandbox\.image`"):
        SandboxPool(SandboxConfig(provider=provider))
    with pytest.raises(UserError, match=r"leave `sandbox\.packages` empty"):
        SandboxPool(SandboxConfig(provider=provider, image="python:3.12", packages=["numpy"]))


def test_wrong_settings_are_named() -> None:
    with pytest.raises(UserError, match=r"^sandbox\.memory: .*not permitted$"):
        SandboxConfig.read({"memory": 1})
    assert SandboxConfig.read({"warm": 5}, warm=1, packages=["numpy"]).warm == 5


def test_packages_must_be_there() -> None:
    with pytest.raises(UserError, match="package `no_such_package` is not installed"):
        SandboxPool(SandboxConfig(packages=["no_such_package"]))


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_engine_command(engine: Any) -> None:
    config = SandboxConfig(provider=engine, image="python:3.12-slim", memory_mb=512, tmp_mb=32, processes=16)
    command = walls.engine_command(engine, "name", config)
    assert command[:5] == [engine, "run", "--rm", "--interactive", "--name"]
    text = " ".join(command)
    for part in (
        "--network none --read-only --cap-drop ALL --security-opt no-new-privileges --user 1000:1000",
        "--memory 512m --memory-swap 512m --pids-limit 20",
        "--tmpfs /tmp:rw,nosuid,nodev,size=32m,mode=1777",
        "/sandbox/guest:/gym_ray/guest:ro --entrypoint python3 python:3.12-slim -I -c",
    ):
        assert part in text
    spawned = walls.container(config)
    assert spawned.end is not None
    assert spawned.end("name") == [engine, "rm", "-f", "name"]


def test_apptainer_command() -> None:
    command = " ".join(walls.apptainer_command(SandboxConfig(provider="apptainer", image="python.sif")))
    assert command.startswith(
        "apptainer --quiet exec --containall --cleanenv --no-home --no-privs --net --network none"
    )
    assert ":/gym_ray/guest:ro python.sif python3 -I -c" in command


def test_bubblewrap_command() -> None:
    command = walls.bubblewrap_command(view((), 32 << 20))
    text = " ".join(command)
    memory = "--proc /proc --size 33554432 --tmpfs /tmp"
    for part in ("--unshare-all --die-with-parent", "--cap-drop ALL", memory, "--clearenv"):
        assert part in text
    assert text.index("--remount-ro / ") > text.rindex("--ro-bind")
    assert str(ROOT) not in text.replace(str(ROOT / "gym_ray/sandbox"), "")


def test_privileged_processes_do_not_lend_bubblewrap_their_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert walls.bubblewrap(view((), 1 << 20)).user not in (None, 0)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert walls.bubblewrap(view((), 1 << 20)).user is None


def test_what_is_seen_has_no_other_packages() -> None:
    seen = view(("numpy",), 1 << 20)
    targets = {place["target"] for place in seen["binds"]}
    assert "/opt/packages/numpy" in targets
    assert not [place for place in targets if place.endswith("-packages") or place in ("/", "/etc", "/home", "/root")]
    for place in seen["binds"]:
        for folder in Path(place["source"]).glob("lib/python3*/*-packages"):
            assert str(folder) in seen["masks"]


UNPRIVILEGED = """
import asyncio, os
from gym_ray.sandbox import Command, Limits, SandboxConfig, SandboxPool
async def main():
    pool = SandboxPool(SandboxConfig(warm=0, provider="namespaces"))
    async with pool.sandbox() as sandbox:
        print(os.getuid(), (await sandbox.run(Command(python="import os; print(os.getuid())"))).stdout)
        bomb = "import os, sys\\nmade = 0\\ntry:\\n  while True:\\n    if os.fork() == 0: os.pause()\\n    made += 1\\n"
        bomb += "except OSError: print(made, flush=True)\\nexcept AttributeError: __import__('time').sleep(60)"
        print((await sandbox.run(Command(python=bomb), Limits(processes=16, wall_s=20))).stdout)
    await pool.aclose()
asyncio.run(main())
"""


def test_an_unprivileged_user_gets_jails_too(pool: SandboxPool) -> None:
    if os.geteuid() != 0 or pool.provider != "namespaces":
        pytest.skip("the other tests run as an unprivileged user already")
    # This Python may lie where others may not look, so it is shown to them elsewhere, in a mount namespace of its own.
    places = {"base": sys.base_prefix, "project": str(ROOT), "site": str(Path(pytest.__file__).parents[1])}
    script = "set -e; mount -t tmpfs none /mnt; cd /mnt; mkdir " + " ".join(places)
    script += "".join(f"; mount --bind '{place}' /mnt/{name}" for name, place in places.items())
    python = f"/mnt/base/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    script += f'; exec setpriv --reuid 12345 --regid 12345 --clear-groups {python} -B -c "$1"'
    python_env = {"PYTHONHOME": "/mnt/base", "PYTHONPATH": "/mnt/project:/mnt/site"}
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script, "bash", UNPRIVILEGED],
        env={"PATH": os.environ["PATH"], "HOME": "/tmp", **python_env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare" in done.stderr or "setpriv" in done.stderr:
        pytest.skip(done.stderr)
    lines = done.stdout.splitlines()
    assert lines[:1] == ["12345 b'1000\\n'"], done.stderr
    assert 5 < int(lines[1][2:-3]) <= 16
