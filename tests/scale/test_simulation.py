"""The scale simulation at a small size: it runs the real code, and the costs it once found stay mended."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.delitem(sys.modules, "scaling", raising=False)


def test_a_look_at_the_board_does_not_grow_with_flights_or_deaths() -> None:
    from scaling import board

    (curve,) = board.measure(quick=True)
    looks = curve.column(2)
    assert looks[-1] < 1.5 * looks[0]


def test_a_lost_replica_moves_only_its_own_rollouts() -> None:
    from scaling import routing

    (curve,) = routing.measure(quick=True)
    assert set(curve.column(3)) == {0}


def test_a_worker_starts_without_reading_the_journal_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from scaling import journal

    from gym_ray.collect.journal import history

    read: list[int] = []

    def counted(*args: object, **more: object) -> object:
        index = scan(*args, **more)
        read.append(len(index.files))
        return index

    scan = history.scan
    monkeypatch.setattr(history, "scan", counted)
    monkeypatch.setattr(journal, "SEGMENTS", 50)
    (curve,) = journal.measure(quick=True)
    assert len(curve.rows) == 2
    assert read
    assert max(read) <= 1, "only what the worker of that name wrote itself"


def test_curves_are_drawn(tmp_path: Path) -> None:
    from scaling.chart import draw
    from scaling.curve import Curve

    curve = Curve("routing", "t", "replicas", ["us per call"], [[1, 2.0], [1000, 200.0]])
    picture = draw({"routing": curve}, {})
    assert picture.startswith("<svg")
    assert picture.count("<polyline") == 1
