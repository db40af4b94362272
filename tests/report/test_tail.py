"""A journal that grows: each record is found once, whatever the tail looks like."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest

from gym_ray.runs.groups import journaled_groups
from gym_ray.runs.read import read_run
from gym_ray.runs.report.detail import row_of
from gym_ray.runs.report.overview import overview
from gym_ray.runs.report.texts import TokenTexts
from gym_ray.runs.report.unfinished import unfinished
from gym_ray.runs.view.desk import Desk
from gym_ray.runs.view.query import Filter, Pages
from gym_ray.runs.view.tail import Tail
from tests.support.shown_runs import LiveRun, shown_rollouts


@pytest.fixture
def live(tmp_path: Path) -> LiveRun:
    return LiveRun(tmp_path / "run")


def test_records_appear_as_they_are_written(live: LiveRun) -> None:
    tail, rollouts = Tail(live.run), shown_rollouts()
    assert not tail.refresh()
    for rollout in rollouts[:3]:
        live.start(rollout)
    live.finish(rollouts[1])
    assert tail.refresh()
    assert (len(tail.index), tail.in_flight) == (1, 2)
    assert not tail.refresh()
    live.finish(rollouts[0], *rollouts[2:])
    assert tail.refresh()
    assert (len(tail.index), tail.in_flight) == (len(rollouts), 0)
    expected = [row_of(one) for group in journaled_groups(live.run) for one in group.rollouts]
    assert Pages(tail).page(Filter(), 0, 100)["rows"] == expected
    assert [row["task"] for row in Pages(tail).page(Filter(sort="newest"), 0, 2)["rows"]] == [8, 8]
    assert len(Pages(tail).search(Filter(), "<script>", 0, 50)["rows"]) == 8


def test_a_torn_tail_is_read_when_the_rest_is_there(live: LiveRun) -> None:
    live.finish(*shown_rollouts()[:2])
    live.writer.close()
    (segment,) = Path(live.address, "journal").glob("*.seg")
    whole = segment.read_bytes()
    tail, found = Tail(live.run), []
    for end in range(0, len(whole) + 101, 100):
        segment.write_bytes(whole[:end])
        tail.refresh()
        found.append(len(tail.index))
    assert found == sorted(found)
    assert found[-1] == 2


def test_of_two_records_of_one_rollout_the_first_counts(live: LiveRun) -> None:
    first, again = shown_rollouts()[0], shown_rollouts()[0]
    again.agent = "Other"
    live.finish(first, again)
    tail = Tail(live.run)
    tail.refresh()
    assert len(tail.index) == 1
    assert tail.read(0).ours["agent"] == "ToolLoop"


def test_who_closed_in_peace_has_nothing_in_flight(live: LiveRun) -> None:
    live.start(shown_rollouts()[0])
    live.writer.close()
    tail = Tail(live.run)
    tail.refresh()
    assert tail.in_flight == 0


def test_what_never_ended_stays_in_flight(live: LiveRun) -> None:
    ended, runs, *_ = shown_rollouts()
    live.start(ended)
    live.start(runs)
    ended.started, ended.finished = time.time(), time.time() + 8
    live.finish(ended)
    assert [left for _, left in unfinished(live.run)] == [None]
    made = overview(read_run(live.address), journaled_groups(live.run))
    assert made["timeline"]["in_flight"][-2] == pytest.approx(2.0)
    live.writer.close()
    ((started, left),) = unfinished(live.run)
    assert left is not None, "given up when its worker closed in peace"
    assert left >= started


def test_a_desk_follows_a_run_into_its_shards(live: LiveRun) -> None:
    live.finish(*shown_rollouts()[:4])
    desk = Desk(live.address, TokenTexts(None))
    desk._count()
    before, overview = desk.status(), desk.overview()
    assert (before["state"], before["found"], before["expected"]) == ("unfinished", 4, 36)
    assert overview is not None
    assert overview["environments"]["office"]["scored"] == 4
    live.run.write("manifest.json", orjson.dumps({"complete": True, "made": 1.0, "files": []}))
    live.run.write("metrics.json", orjson.dumps({"environments": {}, "rollouts": {}}))
    desk._look()
    assert desk.status()["state"] == "complete"
    assert not desk.status()["live"]
