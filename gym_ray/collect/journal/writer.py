"""The journal's writer: append-only segments of checksummed frames, one segment per worker incarnation.

Invariants: a segment has one writer and is never written again once that writer is gone, so whatever
follows the last whole frame is a torn tail and means nothing. The order of frames across segments means
nothing either. A final record is durable against the death of its process ``FLUSH_S`` seconds after
:meth:`JournalWriter.append`, whatever the event loop does meanwhile: a thread of its own writes batches.
A start is durable as soon as :meth:`JournalWriter.start` returns (on local filesystems), so that a rollout
which kills its worker at once is still known by name.

On local filesystems a segment is one file, written with ``O_APPEND``. Elsewhere (object stores) each batch
is one small object, ``<segment>-000042.seg``. The format is in ``frames``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from gym_ray.collect.journal.frames import ALONE, FILE_MAGIC, Kind, make_frame
from gym_ray.collect.rundir import JOURNAL, RunDir, cause
from gym_ray.types.errors import UserError

FLUSH_S = 0.2
"""Longest wait of a frame before it is written, in seconds (local)."""
BATCH_S = 0.8
"""The same where each batch costs more: a disk flush (``fsync``), or an object."""
BATCH_BYTES = 1 << 20
"""A batch this large is written at once."""
BACKLOG_BYTES = 256 << 20
"""Above this much unwritten data the writer blocks: memory is bounded, whatever the disk does."""
FLUSH_TIMEOUT_S = 60.0

_NAN = float("nan")


class JournalError(UserError):
    """The journal cannot be written: one line with path and cause. Nothing more will be written."""


class _Sink(Protocol):
    """Where batches go. Both methods raise OSError."""

    def write(self, batch: bytes) -> None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...


class _LocalSink:
    """One file. A lock keeps a start, written by the caller, out of the middle of a batch."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._lock = threading.Lock()
        self.write(FILE_MAGIC)

    def write(self, batch: bytes) -> None:
        with self._lock:
            rest = memoryview(batch)
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def sync(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class _ObjectSink:
    """One new object per batch: these stores cannot append, and publish an object when it is closed."""

    def __init__(self, run: RunDir, segment: str) -> None:
        self._run, self._segment, self._count = run, segment, 0
        self.write(b"")

    def write(self, batch: bytes) -> None:
        path = self._run.path(f"{JOURNAL}/{self._segment}-{self._count:06d}.seg")
        with self._run.filesystem.open_output_stream(path) as sink:
            sink.write(FILE_MAGIC + batch)
        self._count += 1

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


class JournalWriter:
    """Writes one segment. To be used from one thread; a thread of its own does the writing.

    ``owner``: who writes, e.g. a worker's name (anything but ``/``); ``segment`` is its name plus random
    digits. ``fsync``: flush the disk after each batch.

    Raises:
        JournalError: from any method, once and for all, when the filesystem refuses.
    """

    def __init__(self, run: RunDir, owner: str, *, fsync: bool = False) -> None:
        self.segment = f"{owner}-{secrets.token_hex(4)}"
        self._place = run.path(f"{JOURNAL}/{self.segment}.seg")
        self._error: JournalError | None = None
        self._fsync, self._local = fsync, run.local
        self._interval = FLUSH_S if run.local and not fsync else BATCH_S
        self._queue: deque[bytes | Callable[[], object]] = deque()
        self._given = self._written = 0
        self._since = 0.0
        self._wake, self._hurry, self._closing = threading.Event(), threading.Event(), False
        try:
            self._sink: _Sink = _LocalSink(self._place) if run.local else _ObjectSink(run, self.segment)
        except OSError as error:
            raise JournalError(f"cannot write {self._place}: {cause(error)}") from error
        self._thread = threading.Thread(target=self._write_batches, name="journal", daemon=True)
        self._thread.start()

    def start(self, task: int, index: int, alone: bool = False) -> None:
        """Note that an attempt at a rollout begins. ``alone``: nothing else runs in this process."""
        self._check()
        frame = make_frame(Kind.START, task, index, 0, ALONE if alone else 0, time.time(), b"")
        if self._local:
            with self._errors_kept():
                self._sink.write(frame)
            self._check()
            return
        self._put(frame)
        if alone:
            self.flush()

    def append(self, kind: Kind, task: int, index: int, outcome: int, reward: float | None, payload: bytes) -> None:
        """Keep the record of a rollout: generated, or final. ``outcome``: from ``OUTCOME_CODES``."""
        self._check()
        self._put(make_frame(kind, task, index, outcome, 0, _NAN if reward is None else reward, payload))

    def flush(self) -> None:
        """Return when all that was given so far is written (and on disk, with ``fsync``). Blocks."""
        if self._given > self._written:
            written = threading.Event()
            self._mark(written.set)
            if not written.wait(FLUSH_TIMEOUT_S):
                raise self._stuck()
        self._check()

    async def flushed(self) -> None:
        """:meth:`flush` for the event loop: other work goes on meanwhile."""
        if self._given > self._written:
            written = asyncio.Event()
            loop = asyncio.get_running_loop()
            self._mark(lambda: loop.call_soon_threadsafe(written.set))
            try:
                await asyncio.wait_for(written.wait(), FLUSH_TIMEOUT_S)
            except TimeoutError:
                raise self._stuck() from None
        self._check()

    @property
    def lag_s(self) -> float:
        """Age of the oldest frame that is not written yet, in seconds; 0 when all are."""
        return time.monotonic() - self._since if self._given > self._written else 0.0

    def close(self) -> None:
        """Write what is left, mark the segment as ended in peace, flush the disk. Idempotent."""
        if self._closing:
            return
        self._put(make_frame(Kind.CLOSE, 0, 0, 0, 0, time.time(), b""))
        self._fsync, self._closing = True, True
        try:
            self.flush()
        finally:
            self._thread.join(FLUSH_TIMEOUT_S)
            self._error = self._error or JournalError(f"the journal segment {self._place} is closed")

    def _put(self, frame: bytes) -> None:
        if self._given == self._written:
            self._since = time.monotonic()
        self._queue.append(frame)
        self._given += len(frame)
        if not self._wake.is_set():
            self._wake.set()
        backlog = self._given - self._written
        if backlog > BACKLOG_BYTES:
            self.flush()
        elif backlog > BATCH_BYTES and not self._hurry.is_set():
            self._hurry.set()

    def _mark(self, done: Callable[[], object]) -> None:
        """Have ``done`` called, in the writing thread, once everything given so far is written."""
        self._queue.append(done)
        self._wake.set()
        self._hurry.set()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _stuck(self) -> JournalError:
        return JournalError(f"cannot write {self._place}: nothing was written for {FLUSH_TIMEOUT_S:g} s")

    def _write_batches(self) -> None:
        """The thread: wait for a frame, wait a little for more, write them all."""
        ended = False
        while not ended:
            self._wake.wait()
            self._hurry.wait(self._interval)
            # Cleared before the queue is read: what is put meanwhile is in this batch or wakes the next.
            self._wake.clear()
            self._hurry.clear()
            ended = self._closing
            self._write_batch()
        with self._errors_kept():
            self._sink.close()

    def _write_batch(self) -> None:
        frames: list[bytes] = []
        marks: list[Callable[[], object]] = []
        taken = time.monotonic()
        with contextlib.suppress(IndexError):
            while True:
                given = self._queue.popleft()
                frames.append(given) if isinstance(given, bytes) else marks.append(given)
        batch = b"".join(frames)
        if batch and self._error is None:
            with self._errors_kept():
                self._sink.write(batch)
                if self._fsync:
                    self._sink.sync()
        self._since = taken  # What is left was given later.
        self._written += len(batch)
        for done in marks:
            with contextlib.suppress(RuntimeError):  # Whoever waited is gone, and its loop with it.
                done()

    @contextlib.contextmanager
    def _errors_kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._error = self._error or JournalError(f"cannot write {self._place}: {cause(error)}")
