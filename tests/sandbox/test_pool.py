"""Programs that behave: input, output, files, limits kept apart; warm ones, the queue, the launcher's death."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import pytest

from gym_ray.sandbox import Command, Killed, Limits, SandboxConfig, SandboxPool, SandboxUnavailable
from tests.sandbox.conftest import descendants, settled


async def test_input_output_arguments_and_files(run: Any) -> None:
    source = """
import os, sys
print(sys.stdin.read().upper(), sys.argv[1:], open("data/x.txt").read(), os.getcwd())
print("careful", file=sys.stderr)
sys.exit(7)
"""
    result = await run(source, stdin=b"in\xc3\xa9", arguments=("a b",), files={"data/x.txt": b"file"})
    assert result.stdout.decode() == "INÉ ['a b'] file /tmp\n"
    assert (result.stderr, result.exit, result.ok, result.killed) == (b"careful\n", 7, False, Killed.NO)


async def test_programs_by_their_arguments(pool: SandboxPool) -> None:
    async with pool.sandbox() as sandbox:
        shell = await sandbox.run(
            Command(argv=("sh", "-c", "read line; echo $line $MARK; exit 3"), stdin=b"hi\n", env={"MARK": "m"})
        )
        assert (shell.stdout, shell.exit) == (b"hi m\n", 3)
        assert (await sandbox.run(Command(argv=("no-such-program",)))).exit == 127
        python = await sandbox.run(Command(argv=("python3", "-c", "import sys; print(sys.version_info[:2])")))
        assert python.stdout.decode().strip() == str(tuple(sys.version_info[:2]))


async def test_a_python_program_behaves_like_one(run: Any) -> None:
    source = """
import atexit, dataclasses, multiprocessing, pickle, threading
@dataclasses.dataclass
class Point:
    x: int
assert __name__ == "__main__"
assert pickle.loads(pickle.dumps(Point(1))) == Point(1)
with multiprocessing.get_context("fork").Pool(2) as pool: print(pool.map(abs, [-1, -2]))
threading.Thread(target=lambda: print("thread")).start()
atexit.register(print, "at exit")
exit("bye")
"""
    result = await run(source)
    assert (result.stdout.decode().split("\n"), result.exit) == (["[1, 2]", "thread", "at exit", ""], 1)
    assert result.stderr == b"bye\n"


async def test_tracebacks_show_only_the_program(run: Any) -> None:
    error = (await run("def f():\n    return 1 / 0\nf()")).stderr.decode()
    assert error.startswith('Traceback (most recent call last):\n  File "program.py", line 3')
    assert "return 1 / 0" in error
    assert (await run("def f(:")).stderr.decode().rstrip().endswith("SyntaxError: invalid syntax")


async def test_large_input_and_output(run: Any) -> None:
    data = os.urandom(3_000_000)
    limits = Limits(output_bytes=4_000_000)
    source = "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])"
    result = await run(source, limits, stdin=data)
    assert result.stdout == data[::-1]
    assert (await run("print('never reads')", stdin=data)).stdout == b"never reads\n"


async def test_runs_share_files_and_sandboxes_do_not(pool: SandboxPool) -> None:
    look = Command(python="import os; print(os.listdir('.'))")
    async with pool.sandbox() as one, pool.sandbox() as other:
        await one.run(Command(python="open('kept', 'w').close()"))
        assert (await one.run(look)).stdout == b"['kept']\n"
        assert (await other.run(look)).stdout == b"[]\n"


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", ""])
def test_files_stay_inside(name: str) -> None:
    with pytest.raises(ValueError, match="inside"):
        Command(python="", files={name: b""})


async def test_sessions_keep_state_and_begin_again(pool: SandboxPool) -> None:
    async with pool.sandbox() as sandbox:
        first = await sandbox.execute("import os\nx = [1]\ndef f(): return x\nf()")
        assert (first.stdout, first.fresh) == (b"[1]\n", True)
        second = await sandbox.execute("x.append(2)\nf()")
        assert (second.stdout, second.fresh) == (b"[1, 2]\n", False)
        assert (await sandbox.execute("if True:\n    print('a')\n'b';")).stdout == b"a\n"
        gone = await sandbox.execute("os._exit(4)")
        assert (gone.exit, gone.killed) == (4, Killed.NO)
        late = await sandbox.execute("while True: pass", Limits(wall_s=0.3))
        assert late.killed == Killed.DEADLINE
        assert b"NameError" in (await sandbox.execute("x")).stderr


async def test_taking_the_sandbox_down_is_the_programs_result(pool: SandboxPool) -> None:
    async with pool.sandbox() as sandbox:
        sandbox._kill()
        result = await sandbox.run(Command(python="print(1)"))
        assert result.killed == Killed.SANDBOX
        assert not result.ok


async def test_at_most_so_many_and_the_rest_waits_or_is_told() -> None:
    pool = SandboxPool(SandboxConfig(max_running=1, warm=0, queue_s=0.3))
    held = await pool.take()
    with pytest.raises(SandboxUnavailable, match=r"raise `sandbox\.max_running`"):
        await pool.take()
    pool.give_back(held)
    async with pool.sandbox() as sandbox:
        assert (await sandbox.run(Command(python="print(1)"))).ok
    await pool.aclose()


async def test_some_are_kept_ready_and_none_is_left() -> None:
    pool = SandboxPool(SandboxConfig(warm=2, max_running=2))
    async with pool.sandbox():
        assert pool._filling is not None
        await asyncio.wait_for(pool._filling, 20)
        assert len(pool._ready) == 2
        before = list(pool._ready)
    async with pool.sandbox() as sandbox:
        assert sandbox is before[0]
        assert (await sandbox.run(Command(python="print(1)"))).ok
    await pool.aclose()
    assert not settled()


async def test_a_dead_launcher_is_replaced(pool: SandboxPool) -> None:
    if pool.provider != "namespaces":
        pytest.skip("only namespaces have a launcher")
    async with pool.sandbox() as sandbox:
        process = pool._provider._process  # type: ignore[attr-defined]
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        assert (await sandbox.run(Command(python="print(1)"), Limits(wall_s=1.0))).killed
        # Children die with it.
        assert not settled()
    async with pool.sandbox() as sandbox:
        assert (await sandbox.run(Command(python="print(2)"))).stdout == b"2\n"


async def test_everything_ends_with_the_host() -> None:
    source = """
import asyncio, os
from gym_ray.sandbox import Command, SandboxConfig, SandboxPool
async def main():
    pool = SandboxPool(SandboxConfig(warm=0))
    sandbox = await pool.take()
    task = asyncio.create_task(sandbox.run(Command(python="import time; time.sleep(99)")))
    await asyncio.sleep(0.5)
    print("running", flush=True)
    await task
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", source, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"running\n"
    family = descendants(process.pid)
    assert len(family) >= 3
    process.kill()
    await process.wait()
    for _ in range(100):
        if not family & descendants(1):
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail("something outlived its host")
