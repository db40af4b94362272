"""Sticky routing: stable, even, and disturbed as little as possible when an address dies."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gym_ray.models import addresses as module
from gym_ray.models.addresses import Address, Addresses, LiveAddresses, environment_proxy
from gym_ray.models.failure import CallFailure
from gym_ray.types.errors import UserError

SESSIONS = [f"task-{task}/{index}" for task in range(500) for index in range(8)]


def fleet(count: int) -> list[Address]:
    return [Address(f"http://10.0.0.{number}:8000/v1") for number in range(count)]


def test_sessions_spread_evenly_and_stay() -> None:
    machines = fleet(7)
    routing = Addresses(machines)
    chosen = {session: routing.pick(session).base for session in SESSIONS}
    counts = Counter(chosen.values())
    assert len(counts) == 7
    assert max(counts.values()) < 1.25 * min(counts.values())
    again = Addresses(list(reversed(fleet(7))))
    assert {session: again.pick(session).base for session in SESSIONS} == chosen


async def test_only_the_sessions_of_a_lost_address_move() -> None:
    machines = fleet(5)
    routing = Addresses(machines)
    before = {session: routing.pick(session) for session in SESSIONS}
    await routing.lost(machines[2])
    after = {session: routing.pick(session) for session in SESSIONS}
    assert machines[2] not in after.values()
    assert all(after[session] is home for session, home in before.items() if home is not machines[2])
    routing.found(machines[2])
    assert {session: routing.pick(session) for session in SESSIONS} == before


async def test_with_all_lost_one_is_still_tried() -> None:
    machines = fleet(2)
    routing = Addresses(machines)
    for machine in machines:
        await routing.lost(machine)
    assert not routing.others_awake
    assert routing.pick("s") in machines


async def test_a_lost_address_rests_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    machine = fleet(1)[0]
    routing = Addresses([machine])
    rests = []
    for _ in range(8):
        await routing.lost(machine)
        await routing.lost(machine)
        rests.append(machine.resting_until - now)
        now = machine.resting_until
    assert rests == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_what_failed_this_call_is_avoided_while_there_is_another() -> None:
    machines = fleet(2)
    routing = Addresses(machines)
    home = routing.pick("s")
    assert routing.pick("s", [home]) is not home
    assert routing.pick("s", machines) is home


async def test_a_live_list_follows_its_source_and_outlives_its_failures() -> None:
    listed: list[str] | Exception = ["http://a:1", "http://b:1"]

    async def source() -> list[str]:
        if isinstance(listed, Exception):
            raise listed
        return listed

    routing = LiveAddresses(source)
    with pytest.raises(CallFailure):
        routing.pick("s")
    await routing.lost(None)
    first = routing.pick("s")
    listed = RuntimeError("the controller is away")
    routing._asked_at = float("-inf")
    await routing.lost(first)
    assert "controller is away" in routing.trouble
    assert routing.pick("s").base in ("http://a:1", "http://b:1")
    listed = [first.base]
    routing._asked_at = float("-inf")
    await routing.lost(None)
    assert routing.pick("s") is first, "an address that stays keeps what is known of it"


async def test_many_losses_ask_for_the_list_once() -> None:
    asked = 0

    async def source() -> list[str]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return ["http://a:1"]

    routing = LiveAddresses(source)
    await asyncio.gather(*(routing.lost(None) for _ in range(50)))
    assert asked == 1


def test_routes_keep_a_query_and_show_no_password() -> None:
    address = Address("https://user:hunter22@host/openai/?api-version=2")
    assert str(address.url("/responses")) == "https://user:hunter22@host/openai/responses?api-version=2"
    assert address.shown == "https://host/openai/"


@pytest.mark.parametrize("base", ["localhost:8000", "ftp://host/v1", "http://", ""])
def test_an_address_that_cannot_work_is_the_users_mistake(base: str) -> None:
    with pytest.raises(UserError, match="must look like"):
        Address(base)


def test_the_environments_proxy_counts_unless_the_host_is_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert environment_proxy("https://api.example/v1") == "http://proxy:3128"
    assert environment_proxy("https://inside.example/v1") is None
    assert environment_proxy("http://api.example/v1") is None
