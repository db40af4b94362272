"""Shards by position, and lists over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gym_ray.collect.rundir import RunDir
from gym_ray.runs.groups import read_groups
from gym_ray.runs.report.detail import row_of
from gym_ray.runs.report.sample import sample
from gym_ray.runs.report.shards import Shards
from gym_ray.runs.report.texts import TokenTexts
from gym_ray.runs.view.query import Filter, Pages, positions_of
from gym_ray.types.errors import UserError
from tests.runs.test_scale import large_run
from tests.support.shown_runs import EVIL, HOSTILE, shown_run


@pytest.fixture(params=["parquet", "jsonl"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return shown_run(tmp_path / "run", request.param)


def test_each_rollout_is_what_the_stream_says(run: str) -> None:
    source = Shards(RunDir.open(run))
    streamed = [one for group in read_groups(run, tokens=True) for one in group.rollouts]
    assert len(source.index) == len(streamed) == 36
    for position, expected in enumerate(streamed):
        assert source.read(position) == expected
        assert source.index.row(position, source.task_ids([position])[0]) == row_of(expected)


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter(environment=EVIL),
        Filter(outcome="masked"),
        Filter(failure="session_lost"),
        Filter(environment="no such"),
        Filter(reward_min=0.5),
        Filter(reward_min=0.25, reward_max=0.5, sort="reward", descending=True),
        Filter(task=3, sort="tokens"),
        Filter(sort="reward"),
        Filter(descending=True),
    ],
)
def test_lists_are_what_filtering_by_hand_gives(run: str, wanted: Filter) -> None:
    source = Shards(RunDir.open(run))
    rows = [row_of(one) for group in read_groups(run) for one in group.rollouts]

    def passes(row: dict) -> bool:
        low, high, reward = wanted.reward_min, wanted.reward_max, row["reward"]
        return (
            all(not value or row[name] == value for name, value in _texts(wanted))
            and (wanted.task is None or row["task"] == wanted.task)
            and (low is None or (reward is not None and reward >= low))
            and (high is None or (reward is not None and reward <= high))
        )

    expected = [row for row in rows if passes(row)]
    if wanted.sort == "task":
        expected.sort(key=lambda row: (row["task"], row["index"]), reverse=wanted.descending)
    else:
        sign = -1 if wanted.descending else 1
        expected.sort(key=lambda row: (row[wanted.sort] is None, sign * (row[wanted.sort] or 0)))
    page = Pages(source).page(wanted, 0, 100)
    assert page["rows"] == expected
    assert page["total"] == len(expected)
    assert Pages(source).page(wanted, 2, 3)["rows"] == expected[2:5]


def _texts(wanted: Filter) -> list[tuple[str, str]]:
    return [(name, getattr(wanted, name)) for name in ("environment", "outcome", "failure")]


@pytest.mark.parametrize(("text", "found"), [("PERSON 7 OF TASK 4.", 4), ("<script>", 8), ("\x1b[31mred", 8), ("%", 0)])
def test_search_finds_any_text_and_goes_on_where_it_stopped(run: str, text: str, found: int) -> None:
    pages, begin, rows = Pages(Shards(RunDir.open(run))), 0, []
    while begin < 36:
        answer = pages.search(Filter(), text, begin, 3)
        assert answer["searched"] > begin
        begin, rows = answer["searched"], rows + answer["rows"]
    assert len(rows) == len({(row["task"], row["index"]) for row in rows}) == found


def test_a_wrong_number_is_one_line() -> None:
    with pytest.raises(UserError, match="are numbers"):
        Filter.parse({"reward_min": "much"})
    with pytest.raises(UserError, match="one of task, reward"):
        Filter.parse({"sort": "mood"})


def test_a_sample_is_whole_groups_and_has_every_kind_of_failure(run: str) -> None:
    source = Shards(RunDir.open(run))
    held = sample(source, TokenTexts(None), rollouts=16)
    tasks = {row["task"] for row in held["rows"]}
    assert len(held["rows"]) == len(held["details"]) == 4 * len(tasks) == 16
    kinds = {(row["environment"], row["failure"]) for row in held["rows"] if row["failure"]}
    everywhere = source.index.entries[source.index.entries["failure"] > 0]
    assert len(kinds) == len(np.unique(everywhere[["environment", "failure"]])) == 4
    assert held == sample(source, TokenTexts(None), rollouts=16)
    assert held["of"] == 36


def test_a_sample_holds_one_group_even_when_that_is_too_much(run: str) -> None:
    assert len(sample(Shards(RunDir.open(run)), TokenTexts(None), rollouts=1, size=1)["rows"]) == 4


def test_no_order_loses_or_repeats_a_rollout(run: str) -> None:
    source = Shards(RunDir.open(run))
    for sort in ("task", "reward", "tokens", "turns", "newest"):
        for descending in (False, True):
            found = positions_of(source.index, Filter(sort=sort, descending=descending))
            assert sorted(found.tolist()) == list(range(36))


def test_rows_are_found_across_row_groups(tmp_path: Path) -> None:
    source = Shards(RunDir.open(large_run(tmp_path / "run", 10_000)))
    for position in (0, 1999, 2000, 5_001, 9_999):
        assert source.read(position).key == (position // 8, position % 8)
    middle = Pages(source).page(Filter(reward_min=1.0), 1998, 4)
    assert [row["reward"] for row in middle["rows"]] == [1.0] * 4
    found = Pages(source).search(Filter(), "answer is 249. ", 0, 100)["rows"]
    assert [row["task"] for row in found] == [task for task in range(249, 1250, 250) for _ in range(8)]


def test_hostile_text_is_passed_on_as_it_is(run: str) -> None:
    source = Shards(RunDir.open(run))
    said = source.read(int(positions_of(source.index, Filter(environment=EVIL))[0]))
    assert HOSTILE in said.items[0]["summary"][0]["text"]
