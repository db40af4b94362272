"""Programs that try to get out, to stay, to take everything, or to look: none succeeds, and nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from gym_ray.sandbox import Command, Killed, Limits, SandboxPool
from tests.sandbox.conftest import QUICK, settled

SHORT = Limits(wall_s=1.0, cpu_s=10.0, memory_bytes=256 << 20, processes=32, output_bytes=1 << 16)


@pytest.fixture(autouse=True)
def clean_afterwards(pool: SandboxPool) -> Any:
    before = set(os.listdir(tempfile.gettempdir()))
    yield
    assert settled() == set()
    # Other programs of this machine use the folder too: only ours and the attacks' names count.
    left = {name for name in set(os.listdir(tempfile.gettempdir())) - before if "attack" in name or "gym-ray-" in name}
    assert left == set()


async def test_fork_bomb(run: Any) -> None:
    result = await run("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", SHORT)
    assert result.killed == Killed.DEADLINE


async def test_processes_are_bounded_and_threads_count(run: Any) -> None:
    source = """
import os, threading, time
made = 0
try:
    for _ in range(200):
        if made % 2: threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
        elif os.fork() == 0: time.sleep(5); os._exit(0)
        made += 1
except (OSError, RuntimeError): pass
print(made, flush=True); os._exit(0)
"""
    result = await run(source)
    assert 5 < int(result.stdout) <= QUICK.processes


async def test_memory_bomb_in_one_process(run: Any) -> None:
    result = await run("data = []\nwhile True: data.append(bytearray(10_000_000))")
    assert result.killed == Killed.MEMORY or b"MemoryError" in result.stderr
    assert not result.ok


async def test_memory_bomb_spread_over_processes(run: Any) -> None:
    # Each is far below the address space limit; together they are above the memory limit.
    source = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        data = bytearray(os.urandom(1000)) * 40_000
        time.sleep(30)
time.sleep(30)
"""
    result = await run(source)
    assert result.killed == Killed.MEMORY


async def test_uncounted_memory_is_refused(run: Any) -> None:
    source = """
import ctypes, os
try: os.memfd_create("attack"); print("memfd")
except OSError: pass
if ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) >= 0: print("shm")
"""
    assert (await run(source)).stdout == b""


async def test_disk_filler(run: Any) -> None:
    source = """
total, number = 0, 0
try:
    while total < 10**9:
        number += 1
        with open(f"/tmp/attack-{number}", "wb", buffering=0) as file:
            while file.tell() < 30 << 20: total += file.write(bytes(1 << 20))
except OSError as error: print(total, error.errno)
"""
    total, code = (await run(source)).stdout.split()
    assert int(total) <= 64 << 20
    assert code == b"28"


async def test_file_count_is_bounded(run: Any) -> None:
    source = "n = 0\ntry:\n  while n < 100_000:\n    open(f'/tmp/{n}', 'w').close(); n += 1\nexcept OSError: print(n)"
    assert 0 < int((await run(source, Limits(wall_s=30, cpu_s=30))).stdout) <= 20_000


async def test_no_network(run: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = """
import socket, sys
for family, address in ((socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))), (socket.AF_INET6, ("::1", 1))):
    try: socket.socket(family, socket.SOCK_STREAM).connect(address); print("connected")
    except OSError as error: print("refused")
"""
        result = await run(source, arguments=(str(server.getsockname()[1]),))
    assert result.stdout.split() == [b"refused", b"refused"]


async def test_host_sockets_are_out_of_reach(run: Any) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        name = f"\0attack-{secrets.token_hex(8)}"
        server.bind(name)
        server.listen()
        source = (
            f"import socket\ntry: socket.socket(socket.AF_UNIX).connect({name!r}); print('in')\nexcept OSError: pass"
        )
        assert (await run(source)).stdout == b""


async def test_host_files_are_not_there(run: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden tests")
    places = [str(secret), "/etc/shadow", "/etc/hostname", str(Path.home() / ".bashrc"), __file__, "/proc/1/root/etc"]
    source = """
import os, sys
for place in sys.argv[1:]:
    if os.path.lexists(place): print(place)
try: import gym_ray; print("gym_ray")
except ImportError: pass
"""
    assert (await run(source, arguments=tuple(places))).stdout == b""


async def test_secrets_in_the_environment(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTACK_API_KEY", "sk-attack-123")
    source = """
import glob, os
print(dict(os.environ))
for name in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    try: print(open(name, "rb").read())
    except OSError: pass
"""
    assert b"sk-attack" not in (await run(source)).stdout


async def test_other_processes_are_not_seen(run: Any) -> None:
    result = await run("import os; print(*[n for n in os.listdir('/proc') if n.isdigit()], os.getpid())")
    assert all(int(pid) < 10 for pid in result.stdout.split())


@pytest.mark.parametrize("place", ["/", "/usr", "/etc", "/dev", "/proc/sys/kernel/hostname", "/opt"])
async def test_nothing_outside_tmp_can_be_written(run: Any, place: str) -> None:
    source = """
import os, sys
place = sys.argv[1]
try: open(os.path.join(place, "attack") if os.path.isdir(place) else place, "w").write("x"); print("written")
except OSError: pass
"""
    assert (await run(source, arguments=(place,))).stdout == b""


async def test_symlinks_and_proc_lead_nowhere(run: Any) -> None:
    source = """
import os
os.symlink("/etc/shadow", "/tmp/link")
for place in ("/tmp/link", "/proc/self/root/etc/shadow", "/proc/1/root/etc/shadow", "/proc/self/cwd/../etc/shadow",
              "/proc/1/mem", "/proc/1/fd/0", "/proc/kcore", "/proc/sysrq-trigger", "/.old/etc/shadow"):
    try: open(place, "rb").read(10); print(place)
    except OSError: pass
for number in range(64):
    try: print(number, os.readlink(f"/proc/self/fd/{number}"))
    except OSError: pass
"""
    lines = (await run(source)).stdout.decode().splitlines()
    assert all(line.split()[0] in ["0", "1", "2"] and "pipe:" in line for line in lines if "/proc" not in line)
    assert not [line for line in lines if line.startswith("/")]


async def test_no_privileges_and_no_way_to_get_some(run: Any) -> None:
    source = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(os.getuid(), [line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")])
for name, call in {
    "unshare": lambda: libc.unshare(0x10000000), "setuid": lambda: libc.setuid(0),
    "mount": lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, 0), "chroot": lambda: libc.chroot(b"/tmp"),
    "ptrace": lambda: libc.ptrace(16, 1, 0, 0), "keyctl": lambda: libc.syscall(250, 0, -3, 0),
    "clone": lambda: libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0), "io_uring": lambda: libc.syscall(425, 1, 0),
    "remount": lambda: libc.mount(b"", b"/usr", b"", 32 | 4096, 0),
}.items():
    if call() >= 0: print("allowed:", name)
"""
    lines = (await run(source)).stdout.decode().splitlines()
    assert lines == [f"1000 {['0' * 16] * 5}"]


async def test_the_supervisor_cannot_be_killed_stopped_or_limited(pool: SandboxPool) -> None:
    source = """
import os, resource, signal
for number in range(1, 65):
    try: os.kill(1, number)
    except OSError: pass
try: resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0)); print("limited")
except OSError: pass
print("done")
"""
    async with pool.sandbox() as sandbox:
        assert (await sandbox.run(Command(python=source), QUICK)).stdout == b"done\n"
        assert (await sandbox.run(Command(python="print('alive')"), QUICK)).stdout == b"alive\n"


async def test_killing_everything_kills_only_itself(run: Any) -> None:
    result = await run("import os; os.kill(-1, 9); print('here')")
    assert result.stdout in (b"here\n", b"")
    assert os.getpid()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_infinite_output_does_not_grow_memory(run: Any, stream: str) -> None:
    result = await run(f"import sys\nwhile True: sys.{stream}.write('x' * 65536)", SHORT)
    assert result.killed == Killed.DEADLINE
    assert result.cut
    assert len(getattr(result, stream)) == SHORT.output_bytes


async def test_a_daemon_does_not_outlive_its_program(pool: SandboxPool) -> None:
    source = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(0.3)
        open("/tmp/alive", "w").write("x")
        time.sleep(60)
    os._exit(0)
print("parent done")
"""
    async with pool.sandbox() as sandbox:
        assert (await sandbox.run(Command(python=source), QUICK)).stdout == b"parent done\n"
        await asyncio.sleep(0.6)
        found = await sandbox.run(Command(python="import os; print(os.path.exists('/tmp/alive'))"), QUICK)
    assert found.stdout == b"False\n"


@pytest.mark.parametrize(
    "source",
    [
        "import time; time.sleep(1000)",
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        "import signal, time\nfor n in set(range(1, 65)) - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)\n"
        "time.sleep(99)",
        "import os, time\nfor n in range(256):\n  try: os.close(n)\n  except OSError: pass\ntime.sleep(99)",
        "while True: pass",
        "(lambda f: f(f))(lambda f: [f(f) for _ in iter(int, 1)] if 0 else __import__('time').sleep(99))",
    ],
)
async def test_the_deadline_holds(run: Any, source: str) -> None:
    result = await run(source, SHORT)
    assert result.killed == Killed.DEADLINE


async def test_cpu_time_is_bounded(run: Any) -> None:
    result = await run("while True: pass", Limits(wall_s=60, cpu_s=1))
    assert result.killed == Killed.CPU


async def test_output_pipes_held_open_do_not_delay_the_end(run: Any) -> None:
    source = "import os, time\nif os.fork() == 0:\n  os.setsid(); time.sleep(60)\nprint('done')"
    result = await run(source)
    assert result.stdout == b"done\n"
    assert result.ok


async def test_a_cancelled_program_is_gone(pool: SandboxPool) -> None:
    async with pool.sandbox() as sandbox:
        task = asyncio.create_task(sandbox.run(Command(python="import time; time.sleep(60)"), QUICK))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sandbox.closed
        assert (await sandbox.run(Command(python="print(1)"))).killed == Killed.SANDBOX
