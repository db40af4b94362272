"""The ledger: whatever happens in whatever order, each group ends once."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gym_ray.service.ledger import Ledger

events = st.lists(
    st.tuples(st.sampled_from(["submit", "hand", "ack", "drop", "fail", "reroll", "reload"]), st.integers(0, 9)),
    max_size=60,
)


@given(events)
def test_groups_are_conserved_and_cursors_only_grow(happened: list[tuple[str, int]]) -> None:
    ledger = Ledger()
    ended: list[int] = []
    cursors: dict[int, tuple[int, int]] = {}
    for event, number in happened:
        entries = list(ledger.open.values())
        entry = entries[number % len(entries)] if entries else None
        if event == "submit":
            ledger.submit("rows", number, 4)
        elif event == "reload":
            ledger = Ledger.load(orjson.loads(orjson.dumps(ledger.dump())))
        elif event == "ack":
            ended += [one.id for one in ledger.acknowledge(number)]
        elif entry is not None and event == "hand":
            cursor = ledger.hand_over(entry)
            assert cursors.setdefault(cursor, (entry.id, entry.number)) == (entry.id, entry.number)
        elif entry is not None and event in ("drop", "fail"):
            ledger.drop(entry, "zero_variance") if event == "drop" else ledger.fail(entry)
            ended.append(entry.id)
        elif entry is not None:
            ledger.reroll(entry)
        assert ledger.is_conserved()
        handed = [one.cursor for one in ledger.handed(ledger.acknowledged)]
        assert handed == sorted(set(handed))
    assert len(ended) == len(set(ended))
    assert sorted([*ended, *ledger.open]) == list(range(ledger.submitted))
    numbers = [one.number for one in ledger.open.values()]
    assert len(numbers) == len(set(numbers))


def test_an_acknowledgement_counts_for_all_up_to_its_cursor_and_may_be_repeated() -> None:
    ledger = Ledger()
    entries = [ledger.submit("rows", line, 4) for line in range(4)]
    for entry in entries[:3]:
        ledger.hand_over(entry)
    assert [one.id for one in ledger.acknowledge(2)] == [0, 1]
    assert ledger.acknowledge(2) == []
    assert [one.id for one in ledger.handed(2)] == [2]
    assert ledger.delivered == 2
    assert ledger.acknowledge(99)[0].id == 2
    assert list(ledger.open) == [3], "what was never handed over is not acknowledged"
    assert ledger.hand_over(entries[3]) == 4
    assert ledger.acknowledged == 3
