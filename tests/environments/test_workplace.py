"""The office: its database, its tools, its comparison, and whatever a model calls."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gym_ray.environments.workplace import Workplace, build, database
from gym_ray.environments.workplace.database import Refused, Table, differences, net_changes, new_session
from gym_ray.environments.workplace.generate import EASY_TOOLSET, generate, solve
from gym_ray.resources.toolbox import Toolbox
from gym_ray.types.items import function_call
from gym_ray.types.trajectory import Trajectory
from tests.environments.support import run_calls


def task(*calls: tuple[str, dict[str, Any]]) -> Any:
    truth = [{"name": name, "arguments": json.dumps(arguments)} for name, arguments in calls]
    return Workplace.Task.model_validate({"responses_create_params": {"input": "?"}, "ground_truth": truth})


def test_the_file_is_what_the_script_builds() -> None:
    file = Path(inspect.getfile(database)).with_name("database.json")
    assert orjson.loads(file.read_bytes()) == build.build()
    tables = build.build()
    addresses = {person["email"] for person in tables["people"].values()}
    assert len({name.split(".")[0] for name in addresses}) == len(addresses) == 24
    assert {event["person"] for event in tables["events"].values()} <= addresses
    for name, fields in (("events", "title person"), ("emails", "subject person"), ("tasks", "title owner")):
        records = [tuple(record[field] for field in fields.split()) for record in tables[name].values()]
        assert len(set(records)) == len(records)


async def test_sessions_share_nothing_but_the_base() -> None:
    server, before = Workplace(), copy.deepcopy(database.base())
    one, other = await server.seed(None), await server.seed(None)
    await server.delete_event(one, "e001")
    await server.create_event(one, "Coffee", "dana.ito@office.example", "2026-03-04 10:00", 30)
    assert not net_changes(other)
    assert database.base() == before
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(Refused, match="no event 'e001'"):
        Table(one, "events").get("e001")
    assert Table(other, "events").get("e001")


def test_a_table_under_changes() -> None:
    session = new_session()
    table = Table(session, "customers")
    first = table.add(name="Aspen", owner="x")
    table.delete(first)
    second = table.add(name="Bay", owner="x")
    assert (first, second) == ("c025", "c026")
    table.delete("c001")
    table.update("c002", name="Renamed")
    ids = [key for key, _ in table]
    assert "c001" not in ids
    assert ids[-1] == second
    assert table.search("ren")["records"][0]["id"] == "c002"
    assert table.search("bay")["found"] == 1
    net = net_changes(session)["customers"]
    assert net["added"] == [{"name": "bay", "owner": "x"}]
    assert net["changed"].keys() == {"c001", "c002"}
    assert net["changed"]["c001"] is None
    assert net["changed"]["c002"]["name"] == "renamed"


def test_undone_changes_are_none() -> None:
    session = new_session()
    table = Table(session, "events")
    title = str(table.get("e001")["title"])
    table.update("e001", title="Other")
    assert net_changes(session)
    table.update("e001", title=f" {title.upper()} ")
    table.delete(table.add(title="x"))
    assert net_changes(session) == {}


def test_search() -> None:
    events = Table(new_session(), "events")
    everything = events.search("")
    assert (everything["found"], len(everything["records"])) == (48, 10)
    assert events.search("", 5)["records"][-1]["id"] == "e048"
    assert events.search("", 6)["records"] == events.search("", 10**30)["records"] == []
    assert events.search("", -3)["page"] == 1
    assert {record["title"] for record in events.search("BUDGET rev")["records"]} == {"Budget review"}
    people = Table(new_session(), "people")
    assert [person["name"].split()[0] for person in people.search("ana")["records"]] == ["Ana"]
    assert people.search("zebra")["found"] == 0


async def test_values_are_kept_in_one_spelling() -> None:
    server, session = Workplace(), new_session()
    await server.update_event(session, "e001", "start", "2026-03-04T10:00:00")
    await server.update_event(session, "e001", "person", " Dana.Ito@Office.Example ")
    await server.update_event(session, "e001", "minutes", "45")
    event = Table(session, "events").get("e001")
    assert (event["start"], event["person"], event["minutes"]) == ("2026-03-04 10:00", "dana.ito@office.example", 45)
    for field, value in (("start", "soon"), ("person", "Dana"), ("person", "a@b.example"), ("minutes", "0")):
        with pytest.raises(Refused):
            await server.update_event(session, "e001", field, value)
    for field, value in (("title", " "), ("minutes", "1e3"), ("minutes", "9" * 5000)):
        with pytest.raises(Refused):
            await server.update_event(session, "e001", field, value)
    assert Table(session, "events").get("e001") == event


async def test_free_times_and_decisions() -> None:
    server, session = Workplace(), new_session()
    person = next(record["email"] for _, record in Table(session, "people"))
    for key in [key for key, event in Table(session, "events") if event["person"] == person]:
        await server.delete_event(session, key)
    await server.create_event(session, "Review", str(person), "2026-03-04 10:30", 60)
    assert await server.free_times(session, str(person), "2026-03-04") == [
        "09:00", "12:00", "13:00", "14:00", "15:00", "16:00",
    ]  # fmt: skip
    filed = next(key for key, one in Table(session, "expenses") if one["status"] == "filed")
    await server.decide_expense(session, filed, "approved")
    with pytest.raises(Refused, match="already approved"):
        await server.decide_expense(session, filed, "rejected")


async def test_differences_are_told() -> None:
    server = Workplace()
    wanted = task(("delete_event", {"id": "e001"}), ("delete_email", {"id": "m001"}))
    session = await server.seed(wanted)
    await server.delete_event(session, "e002")
    await server.send_email(session, "x@y.example", "Hi", "Ho")
    reward = await server.verify(wanted, Trajectory.of_items([]), session)
    told = "\n".join(reward.extra["differences"])
    assert reward.value == 0.0
    assert "events e001: expected deleted, is unchanged" in told
    assert "events e002: expected unchanged, is deleted" in told
    assert "emails m001: expected deleted" in told
    assert "should not be added" in told


def test_equal_additions_count_as_often_as_they_are_made() -> None:
    once, twice = new_session(), new_session()
    for session, times in ((once, 1), (twice, 2)):
        for _ in range(times):
            Table(session, "emails").add(person="a@b.example", body="x")
    assert differences(net_changes(once), net_changes(twice)) == ["emails: expected 1 added, are 2"]


def test_rows_are_checked() -> None:
    with pytest.raises(ValidationError, match="no tool 'email_reply_email'"):
        task(("email_reply_email", {"email_id": "00000057", "body": "x"}))
    with pytest.raises(ValidationError, match="call 0: delete_event"):
        task(("delete_event", {}))
    with pytest.raises(ValidationError):
        Workplace.Task.model_validate(
            {"responses_create_params": {"input": "?"}, "ground_truth": [{"name": "delete_event", "arguments": "{"}]}
        )


def test_toolset() -> None:
    assert set(Workplace(toolset=EASY_TOOLSET).offered_tools()) == set(EASY_TOOLSET)
    assert len(Workplace().offered_tools()) == 24
    assert all(spec.definition["description"] for spec in Workplace().offered_tools().values())
    with pytest.raises(ValueError, match="no tool fly"):
        Workplace(toolset=["fly"])


async def test_easy_tasks_need_only_the_easy_tools() -> None:
    server = Workplace(toolset=EASY_TOOLSET)
    toolbox = Toolbox(server, 10.0)
    for row in generate(100, 9, "easy"):
        easy = Workplace.Task.model_validate(row)
        session = await server.seed(easy)
        items = [item for turn in solve(row) for item in turn]
        outputs = await run_calls(toolbox, session, items)
        assert len(outputs) == 2
        assert not any("error" in output for output in outputs)
        assert (await server.verify(easy, Trajectory.of_items(items), session)).value == 1.0


TEXT = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["e001", "m001", "t001", "c001", "x001", "dana.ito@office.example", "2026-03-04", "title", "45"]),
)
VALUES = st.one_of(TEXT, st.integers(), st.floats(), st.none(), st.booleans(), st.lists(TEXT, max_size=2))
SPECS = Workplace.tools()


@st.composite
def calls(draw: Any) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from(sorted(SPECS)))
    arguments = {}
    for field, schema in SPECS[name].definition["parameters"]["properties"].items():
        choices = st.sampled_from(schema["enum"]) if "enum" in schema else TEXT
        arguments[field] = draw(
            st.one_of(choices, st.integers(1, 99) if schema["type"] == "integer" else choices, VALUES)
        )
    return name, arguments


@settings(deadline=None, max_examples=80)
@given(st.lists(calls(), max_size=8))
async def test_whatever_is_called_the_office_stays_whole(made: list[tuple[str, dict[str, Any]]]) -> None:
    server, before = Workplace(), repr(database.base())
    nothing = task()
    session = await server.seed(nothing)
    toolbox = Toolbox(server, 10.0)
    for name, arguments in made:
        assert isinstance(await toolbox.call(session, name, arguments), str)
    reward = await server.verify(nothing, Trajectory.of_items([function_call("x", "{}", "1")]), session)
    assert (reward.value == 1.0) == (not net_changes(session)) == (not reward.extra["differences"])
    assert repr(database.base()) == before
    for name in database.TABLES:
        for _, record in Table(session, name):
            assert all(isinstance(value, str | int) for value in record.values())
