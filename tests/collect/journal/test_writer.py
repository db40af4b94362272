"""The journal survives what kills its writers: signals, full disks, read-only mounts, stalled loops."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from gym_ray.collect.journal.frames import FRAME_BYTES, Kind
from gym_ray.collect.journal.index import Deaths, scan
from gym_ray.collect.journal.writer import FLUSH_S, JournalError, JournalWriter
from gym_ray.collect.rundir import JOURNAL, RunDir
from gym_ray.types.errors import UserError
from tests.support.mounts import needs_mount
from tests.support.rollouts import make_rollout, put

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(str(tmp_path / "run"))


@pytest.fixture
def far_run(run: RunDir) -> RunDir:
    """The same directory, treated as an object store: no appending, no mapping."""
    run.local = False
    return run


def segment_file(run: RunDir) -> Path:
    (name,) = run.names(JOURNAL, ".seg")
    return Path(run.path(f"{JOURNAL}/{name}"))


def python(code: str, *arguments: str, prefix: tuple[str, ...] = ()) -> list[str]:
    return [*prefix, sys.executable, "-c", textwrap.dedent(code), *arguments]


def test_what_is_appended_can_be_read(run: RunDir) -> None:
    journal = JournalWriter(run, "worker-1")
    journal.append(Kind.ROLLOUT, 7, 3, 0, 0.5, b"payload")
    journal.append(Kind.GENERATED, 8, 0, 0, None, b"waiting")
    journal.close()
    index = scan(run)
    assert index.segments == [journal.segment]
    assert index.payload(7, 3) == b"payload"
    assert index.done.where["reward"].tolist() == [0.5]
    assert index.payload(8, 0) is None
    assert index.generated_payload(8, 0) == b"waiting"
    assert index.damage == []


def test_a_frame_is_durable_within_a_second_even_when_the_loop_stalls(run: RunDir) -> None:
    async def stall() -> None:
        JournalWriter(run, "w").append(Kind.ROLLOUT, 1, 0, 0, 1.0, b"x")
        time.sleep(FLUSH_S + 0.5)  # noqa: ASYNC251 - a stalled loop is the point
        assert scan(run).is_done(1, 0)

    asyncio.run(stall())


async def test_the_loop_goes_on_while_it_waits_for_the_disk(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = JournalWriter(run, "w")
    written = os.write

    def slow(fd: int, data: bytes) -> int:
        time.sleep(0.3)
        return written(fd, data)

    monkeypatch.setattr(os, "write", slow)
    journal.append(Kind.ROLLOUT, 1, 0, 0, 1.0, b"x")
    waiting = asyncio.ensure_future(journal.flushed())
    ticks = 0
    while not waiting.done():
        await asyncio.sleep(0.01)
        ticks += 1
    await waiting
    assert ticks >= 10
    assert scan(run).is_done(1, 0)


def test_a_start_is_durable_at_once(run: RunDir) -> None:
    journal = JournalWriter(run, "w")
    journal.start(5, 2)
    journal.start(5, 3, alone=True)
    index = scan(run)
    assert index.deaths(5, 2) == Deaths(shared=1, alone=0)
    assert index.deaths(5, 3) == Deaths(shared=0, alone=1)
    assert scan(run, dead=lambda segment: segment != journal.segment).deaths(5, 2).total == 0


def test_only_unfinished_starts_of_killed_writers_count(run: RunDir) -> None:
    for _ in range(2):  # Two writers that were never closed: as if killed.
        journal = JournalWriter(run, "w")
        journal.start(1, 0)
        journal.start(1, 0)  # a second attempt in the same process is no second death
        journal.start(1, 1)
        journal.append(Kind.ROLLOUT, 1, 1, 0, 1.0, b"")
        journal.flush()
    peaceful = JournalWriter(run, "w")
    peaceful.start(1, 0)
    peaceful.close()
    index = scan(run)
    assert index.deaths(1, 0) == Deaths(shared=2, alone=0)
    assert index.deaths(1, 1).total == 0
    assert index.deaths(9, 9).total == 0


WRITER = """
    import sys
    from gym_ray.collect.journal.frames import Kind
    from gym_ray.collect.journal.writer import JournalWriter
    from gym_ray.collect.rundir import RunDir
    journal = JournalWriter(RunDir(sys.argv[1]), "victim")
    number = 0
    while True:
        for _ in range(50):
            journal.start(number, 0)
            journal.append(Kind.ROLLOUT, number, 0, 0, float(number), b"%d " % number * 500)
            number += 1
        journal.flush()
        print(number, flush=True)
"""


@pytest.mark.parametrize("after_s", [0.05, 0.15, 0.4])
def test_sigkill_loses_nothing_that_was_flushed(run: RunDir, after_s: float) -> None:
    victim = subprocess.Popen(python(WRITER, run.address), stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert victim.stdout is not None
    promised = [int(victim.stdout.readline())]
    time.sleep(after_s)
    victim.send_signal(signal.SIGKILL)
    promised += [int(line) for line in victim.stdout.read().split("\n")[:-1] if line]
    victim.wait(10)
    index = scan(run)
    assert index.damage == []
    assert {int(key) >> 24 for key in index.done.keys} >= set(range(promised[-1]))
    for number in (0, promised[-1] - 1):
        assert index.payload(number, 0) == b"%d " % number * 500


def fill(run: RunDir, count: int) -> bytes:
    journal = JournalWriter(run, "w")
    for number in range(count):
        journal.append(Kind.ROLLOUT, number, 0, 0, 1.0, b"p" * 100)
    journal.flush()
    return segment_file(run).read_bytes()


def test_a_tail_torn_at_any_byte_costs_only_the_last_record(run: RunDir) -> None:
    whole = fill(run, 3)
    frame = FRAME_BYTES + 100
    for cut in range(8 + 2 * frame, len(whole)):
        segment_file(run).write_bytes(whole[:cut])
        index = scan(run)
        assert len(index.done) == 2, cut
        assert index.damage == []
    for cut in range(8 + frame):
        segment_file(run).write_bytes(whole[:cut])
        assert len(scan(run).done) == 0


def test_a_damaged_payload_costs_one_record_and_is_told(run: RunDir) -> None:
    whole = bytearray(fill(run, 5))
    whole[8 + 2 * (FRAME_BYTES + 100) + FRAME_BYTES + 7] ^= 1
    segment_file(run).write_bytes(whole)
    index = scan(run)
    assert [int(key) >> 24 for key in index.done.keys] == [0, 1, 3, 4]
    assert len(index.damage) == 1
    assert "1 damaged records" in index.damage[0]
    assert len(scan(run, verify=False).done) == 5
    with pytest.raises(UserError, match="damaged at byte"):
        scan(run, verify=False).payload(2, 0)


def test_a_damaged_header_costs_the_rest_of_its_segment_and_is_told(run: RunDir) -> None:
    whole = bytearray(fill(run, 5))
    struct.pack_into("<I", whole, 8 + 2 * (FRAME_BYTES + 100) + 24, 5)  # a shorter payload, says the header
    segment_file(run).write_bytes(whole)
    index = scan(run)
    assert len(index.done) == 2
    assert "bytes unreadable" in index.damage[0]


def test_a_hole_of_zeros_is_damage_not_a_record(run: RunDir) -> None:
    whole = fill(run, 2)
    segment_file(run).write_bytes(whole + bytes(4096))
    index = scan(run)
    assert len(index.done) == 2
    assert "4096 bytes unreadable" in index.damage[0]


def test_the_first_record_wins_in_every_scan(run: RunDir) -> None:
    journals = [JournalWriter(run, "w") for _ in range(4)]
    for number, journal in enumerate(journals):
        journal.append(Kind.ROLLOUT, 1, 1, 0, float(number), b"%d" % number)
        journal.append(Kind.GENERATED, 1, 1, 0, None, b"late")
        journal.close()
    first = min(range(4), key=lambda number: journals[number].segment)
    index = scan(run)
    assert index.payload(1, 1) == b"%d" % first
    assert index.duplicates == 3
    assert len(index.generated) == 0


def test_object_stores_get_one_object_per_batch(far_run: RunDir) -> None:
    journal = JournalWriter(far_run, "w")
    for number in range(3):
        journal.start(number, 0)
        journal.append(Kind.ROLLOUT, number, 0, 0, 1.0, b"%d" % number)
        journal.flush()
    journal.start(9, 0)
    journal.flush()
    assert len(far_run.names(JOURNAL, ".seg")) == 5
    index = scan(far_run)
    assert index.segments == [journal.segment]
    assert [index.payload(number, 0) for number in range(3)] == [b"0", b"1", b"2"]
    assert index.deaths(2, 0).total == 0
    assert index.deaths(9, 0).shared == 1
    journal.close()
    assert scan(far_run).deaths(9, 0).total == 0


def test_any_fsspec_address_will_do() -> None:
    run = RunDir.create("memory://journal-test/run")
    journal = JournalWriter(run, "w")
    put(journal, make_rollout(3, 1))
    journal.close()
    assert scan(RunDir("memory://journal-test/run")).is_done(3, 1)


FULL_DISK = """
    import sys, time
    from gym_ray.collect.journal.frames import Kind
    from gym_ray.collect.journal.index import scan
    from gym_ray.collect.journal.writer import JournalError, JournalWriter
    from gym_ray.collect.rundir import RunDir
    run = RunDir.create(sys.argv[1])
    journal = JournalWriter(run, "w")
    given = 0
    errors = []
    for attempt in range(400):
        try:
            journal.append(Kind.ROLLOUT, given, 0, 0, 1.0, bytes(20_000))
            journal.flush()
            given += 1
        except JournalError as error:
            errors.append(str(error))
            if len(errors) == 3:
                break
    assert len(errors) == 3 and len(set(errors)) == 1, errors
    index = scan(run)
    assert len(index.done) == given > 10, (len(index.done), given)
    assert index.damage == [], index.damage
    print(errors[0])
"""


@needs_mount
def test_a_full_disk_ends_the_journal_with_one_line(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=1m none {tmp_path} && exec "$@"'
    command = python(FULL_DISK, f"{tmp_path}/run", prefix=("unshare", "-m", "sh", "-c", mount, "sh"))
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("\n") == 1
    assert "No space left on device (ENOSPC)" in ended.stdout
    assert str(tmp_path) in ended.stdout


def test_a_file_size_limit_ends_the_journal_with_one_line(tmp_path: Path) -> None:
    limit = 'trap "" XFSZ; ulimit -f 1000; exec "$@"'
    command = python(FULL_DISK, f"{tmp_path}/run", prefix=("bash", "-c", limit, "bash"))
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "EFBIG" in ended.stdout


READ_ONLY = """
    import sys
    from gym_ray.collect.journal.writer import JournalError, JournalWriter
    from gym_ray.collect.rundir import RunDir
    from gym_ray.types.errors import UserError
    run = RunDir(sys.argv[1])
    try:
        JournalWriter(run, "w")
    except JournalError as error:
        print(error)
    try:
        RunDir.create(sys.argv[1])
    except UserError as error:
        print(error)
"""


@needs_mount
def test_a_read_only_directory_is_refused_in_one_line(run: RunDir) -> None:
    mount = f'mount --bind {run.address} {run.address} && mount -o remount,ro,bind {run.address} && exec "$@"'
    command = python(READ_ONLY, run.address, prefix=("unshare", "-m", "sh", "-c", mount, "sh"))
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("cannot write ") and line.endswith("(EROFS)") for line in lines), lines


def test_fsync_reaches_the_disk_before_flush_returns(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(descriptor))
    journal = JournalWriter(run, "w", fsync=True)
    journal.append(Kind.ROLLOUT, 1, 0, 0, 1.0, b"x")
    journal.flush()
    assert len(synced) == 1
    plain = JournalWriter(run, "w")
    plain.append(Kind.ROLLOUT, 2, 0, 0, 1.0, b"x")
    plain.flush()
    assert len(synced) == 1
    plain.close()
    assert len(synced) == 2


def test_a_closed_journal_takes_nothing_more(run: RunDir) -> None:
    journal = JournalWriter(run, "w")
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append(Kind.ROLLOUT, 1, 0, 0, 1.0, b"")


def test_memory_is_bounded_when_the_disk_is_slow(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gym_ray.collect.journal.writer.BACKLOG_BYTES", 4 << 20)
    monkeypatch.setattr("gym_ray.collect.journal.writer.BATCH_BYTES", 1 << 20)
    journal = JournalWriter(run, "w")
    written = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: (time.sleep(0.02), written(fd, data))[1])
    for number in range(40):
        journal.append(Kind.ROLLOUT, number, 0, 0, 1.0, bytes(1 << 20))
        assert journal._given - journal._written <= (4 << 20) + (1 << 20) + 1000
    journal.close()
    assert len(scan(run).done) == 40


def test_its_lag_is_the_age_of_what_is_not_written(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, release = JournalWriter(run, "worker-1"), threading.Event()
    write = journal._sink.write

    def write_when_released(batch: bytes) -> None:
        assert release.wait(60)
        write(batch)

    monkeypatch.setattr(journal._sink, "write", write_when_released)
    assert journal.lag_s == 0
    put(journal, make_rollout(0))
    first = journal.lag_s
    assert first > 0
    put(journal, make_rollout(1))
    assert journal.lag_s > first, "a later one does not make it younger"
    release.set()
    journal.flush()
    assert journal.lag_s == 0
    journal.close()
