"""Environments in a process of their own, with packages that this one lacks or has in another version."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gym_ray.integrations.nemo_gym.server import NemoGym
from gym_ray.resources import child as child_module
from gym_ray.resources.actor import Pool, start_pool
from gym_ray.resources.child import ChildOffice
from gym_ray.resources.client import ActorResources
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.connect import resolve_placement
from gym_ray.resources.judge import JudgeReply, Judges
from gym_ray.resources.requirements import Requirements
from gym_ray.resources.venv import interpreter
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage, UserError
from gym_ray.types.items import Item, assistant_message
from tests.resources.helpers import answer, row

SERVERS = Path(__file__).with_name("process_servers.py")


def config(name: str, **settings: Any) -> EnvironmentConfig:
    return EnvironmentConfig(server=f"{SERVERS}:{name}", placement="process", **settings)


def wheel(folder: Path, name: str, version: str, needs: str = "") -> str:
    """A package with nothing in it but its version. Returns its place, relative to ``folder``."""
    info, file = f"{name}-{version}.dist-info", f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / file, "w") as out:
        out.writestr(f"{name}/__init__.py", f"__version__ = {version!r}\n")
        needed = f"Requires-Dist: {needs}\n" if needs else ""
        out.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr(f"{info}/RECORD", f"{name}/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return f"./{file}"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A requirements file with a package that we lack and one that we have, in another version."""
    folder = tmp_path_factory.mktemp("packages")
    lines = ["# two of them", "", *(wheel(folder, *one) for one in (("gym_ray_stranger", "3.1"), ("regex", "0.0.1")))]
    (folder / "requirements.txt").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


class Ended(list[str]):
    """What an actor is told at its child's end, instead of ending itself."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def __call__(self, reason: str) -> None:
        self.append(reason)
        self.event.set()


def office(name: str, judges: Judges | None = None, start_s: float = 60.0, **settings: Any) -> ChildOffice:
    given = config(name, **settings)
    wanted = Requirements.read(given.requirements) if given.requirements else None
    return ChildOffice("env", given, wanted, judges, start_s, Ended())


@asynccontextmanager
async def connected(name: str, judges: Judges | None = None, **settings: Any) -> AsyncIterator[Any]:
    """The real client of a real child; yields both."""
    child = office(name, judges, **settings)
    facts = await child.describe()
    assert not isinstance(facts, str), facts
    actor: Any = SimpleNamespace(
        exchange=SimpleNamespace(remote=lambda letter: asyncio.ensure_future(child.exchange(letter)))
    )
    resources = ActorResources(Pool("env", config(name, **settings), [actor], facts))
    try:
        yield resources, child
    finally:
        await resources.aclose()
        await child.aclose()
        assert gone(facts.pid)


def gone(pid: int) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False


async def test_packages_that_conflict_with_ours(packages: Path) -> None:
    import regex

    async with connected("Own", requirements=str(packages / "requirements.txt")) as (resources, _):
        session = await resources.seed(row(), "r")
        assert await session.call_tool("packages", {}) == "3.1 0.0.1 ray=False"
    assert hasattr(regex, "compile")  # ours is still ours
    with pytest.raises(ImportError):
        import gym_ray_stranger  # noqa: F401


def test_a_venv_is_made_once_and_anew_when_its_packages_change(packages: Path, tmp_path: Path) -> None:
    lines = [wheel(tmp_path, "gym_ray_stranger", "3.1")]
    wanted = Requirements.of(lines, tmp_path)
    first = interpreter(None, wanted)
    made = Path(first).parent.parent / "complete"
    before = made.stat().st_mtime_ns
    assert interpreter(None, Requirements.of(["", *lines, "# a note"], tmp_path)) == first
    assert made.stat().st_mtime_ns == before
    made.unlink()  # the maker was killed half-way
    assert interpreter(None, wanted) == first
    assert made.stat().st_mtime_ns > before
    os.utime(tmp_path / lines[0], ns=(1, 1))
    assert interpreter(None, wanted) != first


def test_mistakes_in_requirements_are_named(packages: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*missing\.txt"):
        Requirements.read(str(tmp_path / "missing.txt"))
    with pytest.raises(UserError, match=r"-r other\.txt"):
        Requirements.read(["-r other.txt"])
    with pytest.raises(UserError, match="no interpreter /nowhere/python"):
        interpreter("/nowhere/python", None)
    with pytest.raises(UserError, match=r"cannot install \./none-1\.0-py3-none-any\.whl: .*none-1\.0"):
        interpreter(None, Requirements.of(["./none-1.0-py3-none-any.whl"], tmp_path))


async def test_sessions_errors_noise_and_large_payloads() -> None:
    async with connected("Own") as (resources, child):
        session = await resources.seed(row(), "r")
        pid, parent = map(int, (await session.call_tool("parent", {})).split())
        assert (pid, parent) == ((await child.describe()).pid, os.getpid())
        assert await asyncio.gather(*(session.call_tool("noise", {}) for _ in range(20))) == ["said"] * 20
        large = "ä" * 10_000_000
        assert await session.call_tool("double", {"text": large}) == large + large
        with pytest.raises(RolloutError) as caught:
            await session.call_tool("lose", {})
        assert (caught.value.kind, caught.value.terminal) == (FailureKind.PROVIDER_UNAVAILABLE, False)
        assert (await session.verify(answer("four"))).value == 4.0

        async def rollout(length: int) -> float:
            one = await resources.seed(row(), "r")
            text = await one.call_tool("double", {"text": "x" * length})
            reward = await one.verify(answer(text))
            await one.close()
            return float(reward.value)

        assert await asyncio.gather(*(rollout(length) for length in range(200))) == [2.0 * n for n in range(200)]


class ScriptedJudges:
    """``yes`` to most; ``down`` fails, ``slow`` never ends."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.closed, self.cancelled = 0, asyncio.Semaphore(0)

    def __contains__(self, name: object) -> bool:
        return name == "strict"

    def open(self, name: str) -> ScriptedJudges:
        assert name == "strict"
        return self

    async def respond(self, items: list[Item], params: Mapping[str, Any]) -> JudgeReply:
        self.asked.append(params["seed"])
        said = items[0]["content"]
        if "down" in str(said):
            raise RolloutError(FailureKind.TRANSPORT_UNREACHABLE, Stage.MODEL, "gave up")
        if "slow" in str(said):
            try:
                await asyncio.sleep(3600)
            finally:
                self.cancelled.release()
        return JudgeReply([assistant_message("yes")])

    async def close(self) -> None:
        self.closed += 1


async def test_judges_are_asked_through_the_parent() -> None:
    judges = ScriptedJudges()
    async with connected("Judged", judges, judge="strict", verify_timeout_s=1.0) as (resources, _):
        session = await resources.seed(row(), "r")
        reward = await session.verify(answer("fine?"))
        assert (reward.value, reward.extra["judge_usage"]["calls"]) == (1.0, 3)
        assert sorted(judges.asked) == [0, 1, 2]
        for text, kind in {"down": FailureKind.JUDGE_FAILED, "slow": FailureKind.VERIFIER_TIMEOUT}.items():
            with pytest.raises(MaskRollout) as caught:
                await session.verify(answer(text))
            assert caught.value.kind == kind
        async with asyncio.timeout(10):
            for _ in range(3):
                await judges.cancelled.acquire()
    assert judges.closed == 1
    told = await office("Judged", judges, judge="kind").describe()
    assert isinstance(told, str)
    assert "asks the judge `kind`, and there is none" in told


async def test_a_blocked_environment_blocks_nobody_here() -> None:
    async with connected("Own") as (resources, _):
        session = await resources.seed(row(), "r")
        work = asyncio.create_task(session.call_tool("block", {"seconds": 1.0}))
        beats = 0
        while not work.done():
            await asyncio.sleep(0.02)
            beats += 1
        assert beats > 10
        assert work.result() == "awake"


async def test_one_that_is_blocked_for_good_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "STUCK_S", 2.0)
    async with connected("Own") as (resources, child):
        session = await resources.seed(row(), "r")
        with pytest.raises(RolloutError) as caught:
            await asyncio.wait_for(session.call_tool("block", {"seconds": 3600}), 30)
        assert caught.value.kind == FailureKind.SESSION_LOST
        assert ["answered nothing" in reason for reason in child._ended] == [True]


@pytest.mark.parametrize("how", ["exit", "kill"])
async def test_its_end_is_told_once(how: str) -> None:
    async with connected("Own") as (resources, child):
        sessions = [await resources.seed(row(), "r") for _ in range(3)]
        if how == "exit":
            work = [sessions[0].call_tool("leave", {"code": 7})]
        else:
            os.kill((await child.describe()).pid, signal.SIGKILL)
            work = []
        results = await asyncio.gather(*work, *(one.verify(answer("x")) for one in sessions), return_exceptions=True)
        assert {getattr(result, "kind", result) for result in results} == {FailureKind.SESSION_LOST}
        async with asyncio.timeout(10):
            await child._ended.event.wait()
        said = "exited with code 7" if how == "exit" else "was killed by SIGKILL"
        assert [reason.partition("process ")[2].partition(" (")[0] for reason in child._ended] == [said]


async def test_environments_that_do_not_start_say_why(packages: Path, tmp_path: Path) -> None:
    home = {"home": os.getpid()}
    cases = {
        "not ready after 3 s.*Hangs": office("Hangs", start_s=3.0, options=home),
        "process exited with code 7 as it started": office("Leaves", options=home),
        "gym_ray_stranger": office("Wanting"),
        "did you mean `Own`": office("Owm"),
    }
    told = await asyncio.gather(*(one.describe() for one in cases.values()))
    for expected, text in zip(cases, told, strict=True):
        with pytest.raises(UserError, match=expected):
            raise UserError(text)
    (tmp_path / "bad").mkdir()
    broken = wheel(tmp_path / "bad", "pydantic", "0.0.1")
    text = await office("Own", requirements=[str(tmp_path / "bad" / broken)]).describe()
    assert isinstance(text, str)
    assert "cannot import gym_ray: ImportError" in text


def test_which_placement() -> None:
    base = config("Own").model_copy(update={"placement": "auto"})
    assert resolve_placement(base) == "actor"
    assert resolve_placement(base.model_copy(update={"requirements": ["x"]})) == "process"
    assert resolve_placement(base.model_copy(update={"python": sys.executable})) == "process"
    assert resolve_placement(config("Own")) == "process"


def test_what_nemo_gym_servers_require(tmp_path: Path) -> None:
    (tmp_path / "nemo_gym").mkdir()
    server = tmp_path / "resources_servers" / "tables"
    server.mkdir(parents=True)
    options = {"path": str(tmp_path), "server": "tables"}
    assert NemoGym.requirements(options) is None
    for itself in ("-e nemo-gym[dev] @ ../../", "-e ../../", "-e nemo-gym[dev,sandbox] @ ../.."):
        (server / "requirements.txt").write_text(f"{itself}\n# why\nscipy==1.14  # new\n-e ./shell[x]\n")
        assert NemoGym.requirements(options) == Requirements(("scipy==1.14", "-e ./shell[x]"), str(server))
    (server / "requirements.txt").write_text("-e nemo-gym[dev] @ ../../\n")
    assert NemoGym.requirements(options) is None


@contextmanager
def started(**settings: Any) -> Iterator[Pool]:
    pool = start_pool("env", config("Own", **settings), timeout_s=60)
    try:
        yield pool
    finally:
        pool.shutdown()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
async def test_in_ray_a_dead_child_or_actor_costs_its_sessions_and_comes_back(packages: Path) -> None:
    with started(requirements=str(packages / "requirements.txt")) as pool:
        resources = ActorResources(pool)
        seen = set()
        for victim in (0, 1):  # the child, then the actor
            session = await asyncio.wait_for(resources.seed(row(), "r"), 60)
            assert (await session.call_tool("packages", {})).startswith("3.1 0.0.1")
            family = tuple(map(int, (await session.call_tool("parent", {})).split()))
            assert not seen & set(family)
            seen |= set(family)
            os.kill(family[victim], signal.SIGKILL)
            with pytest.raises(RolloutError) as caught:
                await asyncio.wait_for(session.verify(answer("x")), 30)
            assert caught.value.kind == FailureKind.SESSION_LOST
            assert all(map(gone, family))
        fresh = await asyncio.wait_for(resources.seed(row(), "again"), 60)
        assert (await fresh.verify(answer("four"))).value == 4.0
        last = tuple(map(int, (await fresh.call_tool("parent", {})).split()))
        venv = Path(await fresh.call_tool("home", {}))
        await resources.aclose()
    assert all(map(gone, last))
    assert (venv / "complete").is_file()
    # Ray may have been up before this module chose a cache: then it is in the user's.
    shutil.rmtree(venv)
    venv.with_suffix(".lock").unlink()
