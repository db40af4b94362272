"""Blackjack: what hands are worth, how they are settled, and that a seed decides all cards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_ray.environments.blackjack.cards import RANKS, settle, total
from tests.environments.play import play, said

SERVER = "gym_ray.environments.blackjack:Blackjack"
ROW = {"responses_create_params": {"input": "Deal."}}


@pytest.mark.parametrize(
    ("cards", "points"),
    [("A K", 21), ("A A", 12), ("A A A", 13), ("A 9 A", 21), ("A 9 5", 15), ("K Q J", 30), ("10 2", 12), ("A K Q", 21)],
)
def test_total(cards: str, points: int) -> None:
    assert total(cards.split()) == points


@pytest.mark.parametrize(
    ("player", "dealer", "result", "reward"),
    [
        ("K 9", "K 8", "win", 1.0),
        ("K 8", "8 K", "draw", 0.0),
        ("K 7", "K 8", "loss", -1.0),
        ("2 2", "K 6 6", "win", 1.0),
        ("K 6 6", "K 6 6", "bust", -1.0),
        ("A K", "7 7 7", "draw", 0.0),
    ],
)
def test_settle(player: str, dealer: str, result: str, reward: float) -> None:
    assert settle(player.split(), dealer.split()) == (result, reward)


@given(st.integers(0, 2**40), st.integers(0, 12))
async def test_a_seed_decides_the_hand(seed: int, hits: int) -> None:
    turns = said(*["<action>hit</action>"] * hits, "<action>stand</action>")
    first, shown = await play(SERVER, ROW | {"seed": seed}, turns)
    second, again = await play(SERVER, ROW | {"seed": seed}, turns)
    assert (first.value, first.extra, shown.items) == (second.value, second.extra, again.items)
    info = first.extra["info"]
    assert (info["result"], first.value) == settle(info["player"], info["dealer"])
    assert {*info["player"], *info["dealer"]} <= set(RANKS)


async def test_without_a_seed_hands_differ() -> None:
    starts = {str((await play(SERVER, ROW, []))[1].items) for _ in range(12)}
    assert len(starts) > 1


async def test_a_hand_in_play_has_no_result() -> None:
    reward, trajectory = await play(SERVER, ROW | {"seed": 1}, [])
    assert (reward.value, reward.extra["info"]["result"]) == (0.0, None)
    assert "The dealer shows" in trajectory.items[0]["content"]
