"""Trajectories between processes."""

from __future__ import annotations

import pickle
from itertools import pairwise

import pytest

from gym_ray.resources.frames import FrameBuffer, frame
from gym_ray.resources.rows import RowCache
from gym_ray.resources.wire import pack, unpack
from tests.resources.helpers import answer


def test_a_trajectory_comes_back_whole() -> None:
    given = answer("hello", tokens=True)
    given.step_rewards, given.model = [0.5, 1.0], "m"
    assert unpack(pickle.loads(pickle.dumps(pack(given, tokens=True)))) == given


def test_tokens_stay_behind_unless_wanted() -> None:
    given = answer("hello", tokens=True)
    came = unpack(pack(given, tokens=False))
    assert came.turns[0].tokens is None
    assert came == answer("hello")
    assert given.turns[0].tokens is not None


@pytest.mark.parametrize("size", [1, 7, 8, 9, 10**6])
def test_frames_survive_any_cut(size: int) -> None:
    values = [b"", "x" * 100, [1, 2, {"a": None}], b"y" * 300_000]
    stream = b"".join(frame(value) for value in values)
    buffer = FrameBuffer()
    cuts = [*range(0, min(2000, len(stream)), size), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(cuts)]
    assert [value for piece in pieces for value in buffer.feed(piece)] == values


def test_rows_are_made_once_per_identity() -> None:
    made = []
    cache = RowCache(lambda row: made.append(row) or len(made), size=2)
    first, second, third = {"a": 1}, {"a": 1}, {"a": 1}
    assert [cache(first), cache(first), cache(second), cache(first)] == [1, 1, 2, 1]
    assert [cache(third), cache(first), cache(second)] == [3, 1, 4]
