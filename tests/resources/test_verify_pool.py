"""cpu-bound verifiers in worker processes that really hang and crash."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gym_ray.resources.host import Host
from gym_ray.resources.sessions import HostSession
from gym_ray.types.errors import MaskRollout
from tests.resources.helpers import SERVERS, answer, config, row


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host("env", config("Crasher", verify_timeout_s=1))
    yield host
    await host.aclose()


@pytest.fixture
async def session(host: Host) -> HostSession:
    return await host.seed(row(), "r")


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


async def gone(*pids: int) -> bool:
    for _ in range(100):
        if not any(map(alive, pids)):
            return True
        await asyncio.sleep(0.05)
    return False


async def masked(session: HostSession, text: str) -> tuple[str, str]:
    with pytest.raises(MaskRollout) as caught:
        await session.verify(answer(text))
    return caught.value.kind, caught.value.reason


async def test_verdicts_come_from_another_process(session: HostSession) -> None:
    reward = await session.verify(answer("fine"))
    assert (reward.value, reward.extra["turns"]) == (1.0, 1)
    assert reward.extra["pid"] != os.getpid()


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("raise oh no", "verifier_error", "ValueError: oh no"),
        ("mask away", "judge_failed", "away"),
        ("sysexit", "verifier_error", "SystemExit: 1"),
        ("unpicklable", "verifier_error", "its verdict cannot be sent: "),
        ("segfault", "verifier_crashed", "the verify worker was killed by SIGSEGV"),
        ("exit 3", "verifier_crashed", "the verify worker exited with code 3"),
        ("loop", "verifier_timeout", "verify did not end within 1 s"),
    ],
)
async def test_a_bad_verify_costs_one_rollout(session: HostSession, text: str, kind: str, reason: str) -> None:
    before, bad, after = await asyncio.gather(
        session.verify(answer("fine")), masked(session, text), session.verify(answer("fine"))
    )
    assert bad[0] == kind
    assert bad[1].startswith(reason)
    assert before.value == after.value == 1.0
    assert (await session.verify(answer("fine"))).value == 1.0


async def test_signals_of_libraries_work(session: HostSession) -> None:
    assert (await session.verify(answer("alarm"))).value == 0.25


async def test_a_group_of_a_cpu_bound_verifier() -> None:
    host = Host("env", config("CpuBoundGroup"))
    rewards = await host.verify_group(row(), [answer("four"), answer("x")])
    assert [reward.value for reward in rewards] == [4.0, 1.0]
    await host.aclose()


async def test_an_unpicklable_session_says_so(host: Host) -> None:
    session = await host.seed(row(text="unpicklable"), "r")
    kind, reason = await masked(session, "fine")
    assert kind == "verifier_error"
    assert "session must be picklable" in reason


async def test_the_whole_process_group_is_killed(session: HostSession, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    assert (await masked(session, f"child {note}"))[0] == "verifier_timeout"
    assert await gone(*map(int, note.read_text().split()))


async def test_many_at_once_are_all_answered(session: HostSession) -> None:
    texts = ["fine", "raise x", "fine", "exit 1"] + ["fine"] * 16
    results = await asyncio.gather(*(session.verify(answer(text)) for text in texts * 4), return_exceptions=True)
    kinds = [result.kind if isinstance(result, MaskRollout) else "" for result in results]
    wanted = {"fine": "", "raise x": "verifier_error", "exit 1": "verifier_crashed"}
    assert kinds == [wanted[text] for text in texts * 4]


async def test_nothing_waits_behind_a_slow_verify_while_a_worker_is_idle() -> None:
    host = Host("env", config("Crasher", verify_workers=2, verify_timeout_s=20))
    session = await host.seed(row(), "r")
    await asyncio.gather(*(session.verify(answer("sleep 0.05")) for _ in range(4)))  # both workers are up
    slow = asyncio.create_task(session.verify(answer("sleep 3")))
    await asyncio.gather(*(session.verify(answer("fine")) for _ in range(20)))
    assert not slow.done()
    slow.cancel()
    await host.aclose()


async def test_a_class_that_dies_as_it_loads_is_no_endless_wait() -> None:
    host = Host("env", config("DiesOnLoad", options={"home": os.getpid()}))
    session = await host.seed(row(), "r")
    kind, reason = await asyncio.wait_for(masked(session, "fine"), 30)
    assert kind == "verifier_crashed"
    assert "code 9" in reason
    assert (await masked(session, "fine"))[0] == "verifier_crashed"
    await host.aclose()


async def test_workers_are_warm_before_the_first_verify(host: Host) -> None:
    await host.seed(row(), "r")
    assert host._pool is not None
    for _ in range(400):
        if all(worker.ready for worker in host._pool._workers):
            return
        await asyncio.sleep(0.05)
    pytest.fail("no worker came up without a verify")


async def test_closing_ends_the_workers(host: Host, session: HostSession) -> None:
    worker = (await session.verify(answer("fine"))).extra["pid"]
    await host.aclose()
    assert not alive(worker)
    with pytest.raises(MaskRollout):
        await host.verify_group(row(), [answer("x")])


PARENT = """
import asyncio, sys
sys.path.insert(0, {root!r})
from tests.resources.helpers import *
from gym_ray.resources.host import Host
async def main():
    host = Host("env", config("Crasher"))
    session = await host.seed(row(), "r")
    print((await session.verify(answer("fine"))).extra["pid"], flush=True)
    asyncio.ensure_future(session.verify(answer("loop")))
    await asyncio.sleep(3600)
asyncio.run(main())
"""


async def test_a_looping_worker_dies_with_its_killed_parent() -> None:
    code = PARENT.format(root=str(SERVERS.parents[2]))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)  # noqa: ASYNC220
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    await asyncio.sleep(0.3)
    parent.kill()
    parent.wait()
    assert await gone(worker)
