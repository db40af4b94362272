"""The index against a plain model of what a journal means, over any history."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gym_ray.collect.journal.frames import ALONE, FILE_MAGIC, Kind, make_frame
from gym_ray.collect.journal.index import scan
from gym_ray.collect.rundir import JOURNAL, RunDir

Frame = tuple[Kind, tuple[int, int], int]
"""Kind, key, flags."""

_keys = st.tuples(st.integers(0, 2) | st.just(2**40 - 1), st.integers(0, 1) | st.just(2**24 - 1))
_kinds = st.sampled_from([Kind.START, Kind.GENERATED, Kind.ROLLOUT])
_segments = st.lists(
    st.tuples(st.lists(st.tuples(_kinds, _keys, st.sampled_from([0, ALONE])), max_size=8), st.booleans()), max_size=4
)


def payload(segment: int, number: int) -> bytes:
    return b"%d/%d" % (segment, number)


def write(run: RunDir, segment: int, frames: list[Frame], closed: bool) -> None:
    content = FILE_MAGIC
    for number, (kind, (task, index), flags) in enumerate(frames):
        text = b"" if kind == Kind.START else payload(segment, number)
        content += make_frame(kind, task, index, 0, flags if kind == Kind.START else 0, 0.0, text)
    content += make_frame(Kind.CLOSE, 0, 0, 0, 0, 0.0, b"") if closed else b"\xa7torn"
    Path(run.path(f"{JOURNAL}/w-{segment:08x}.seg")).write_bytes(content)


@settings(max_examples=150, deadline=None)
@given(_segments, st.booleans(), st.booleans())
def test_the_index_says_what_the_frames_say(
    segments: list[tuple[list[Frame], bool]], local: bool, verify: bool
) -> None:
    address = tempfile.mkdtemp()
    run = RunDir.create(address)
    run.local = local
    done: dict[tuple[int, int], bytes] = {}
    waiting: dict[tuple[int, int], bytes] = {}
    shared: Counter[tuple[int, int]] = Counter()
    alone: Counter[tuple[int, int]] = Counter()
    finals = 0
    for segment, (frames, closed) in enumerate(segments):
        write(run, segment, frames, closed)
        for number, (kind, key, _) in enumerate(frames):
            if kind == Kind.ROLLOUT:
                finals += 1
                done.setdefault(key, payload(segment, number))
            elif kind == Kind.GENERATED:
                waiting.setdefault(key, payload(segment, number))
        if not closed:
            ended = {key for kind, key, _ in frames if kind != Kind.START}
            open_keys = {key for _, key, _ in frames} - ended
            by_itself = {key for kind, key, flags in frames if kind == Kind.START and flags} - ended
            shared.update(open_keys - by_itself)
            alone.update(by_itself)
    index = scan(run, verify=verify)
    shutil.rmtree(address, ignore_errors=True)
    every = {key for frames, _ in segments for _, key, _ in frames}
    assert {key for key in every if index.is_done(*key)} == done.keys()
    assert len(index.done) == len(done)
    assert len(index.generated) == len(waiting.keys() - done.keys())
    assert index.duplicates == finals - len(done)
    for key in every:
        assert index.deaths(*key) == (shared[key], alone[key])
    if every:
        columns = np.array(sorted(every), np.uint64)
        assert index.are_done(columns[:, 0], columns[:, 1]).tolist() == [key in done for key in sorted(every)]


def test_payloads_are_those_of_the_first_records(tmp_path: Path) -> None:
    run = RunDir.create(str(tmp_path / "run"))
    write(run, 1, [(Kind.GENERATED, (5, 0), 0), (Kind.ROLLOUT, (5, 1), 0), (Kind.ROLLOUT, (5, 1), 0)], closed=False)
    write(run, 0, [(Kind.ROLLOUT, (6, 0), 0), (Kind.GENERATED, (5, 0), 0)], closed=True)
    index = scan(run)
    assert index.payload(5, 1) == payload(1, 1)
    assert index.payload(6, 0) == payload(0, 0)
    assert index.generated_payload(5, 0) == payload(0, 1)
    assert index.payload(5, 0) is None


def test_only_the_wanted_owners_are_read(tmp_path: Path) -> None:
    run = RunDir.create(str(tmp_path / "run"))
    write(run, 0, [(Kind.ROLLOUT, (1, 0), 0)], closed=True)
    Path(run.path(f"{JOURNAL}/notes.seg")).write_bytes(b"not ours")
    assert scan(run, owners="w-").is_done(1, 0)
    assert not scan(run, owners="x").is_done(1, 0)
    assert scan(run).damage == []


def test_an_index_costs_33_bytes_per_record(tmp_path: Path) -> None:
    run = RunDir.create(str(tmp_path / "run"))
    write(run, 0, [(Kind.ROLLOUT, (number, 0), 0) for number in range(1000)], closed=True)
    done = scan(run).done
    assert done.keys.nbytes + done.where.nbytes == 33_000
