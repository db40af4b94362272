"""Wordle: what a guess says, what a game is worth, and calls of every kind."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gym_ray.environments.wordle import Wordle
from gym_ray.environments.wordle.game import Game
from gym_ray.environments.wordle.words import all_words, everyday_words, feedback
from gym_ray.types.items import function_call, function_calls
from tests.environments.play import play

SERVER = "gym_ray.environments.wordle:Wordle"
ROW = {"responses_create_params": {"input": "Guess."}, "custom_target": "crane"}


@pytest.mark.parametrize(
    ("guess", "target", "signs"),
    [
        ("crane", "crane", "GGGGG"),
        ("stare", "crane", "__GYG"),
        ("eerie", "sheep", "YY___"),
        ("sheep", "eerie", "__YY_"),
        ("speed", "abide", "__Y_Y"),
        ("allay", "loyal", "_YYGY"),
        ("about", "shell", "_____"),
    ],
)
def test_feedback(guess: str, target: str, signs: str) -> None:
    assert feedback(guess, target) == signs


@given(st.sampled_from(sorted(all_words())), st.sampled_from(sorted(all_words())))
def test_feedback_counts_letters_once(guess: str, target: str) -> None:
    signs = feedback(guess, target)
    for letter in set(guess):
        told = sum(sign != "_" for sign, one in zip(signs, guess, strict=True) if one == letter)
        assert told == min(guess.count(letter), target.count(letter))


def test_word_lists() -> None:
    assert len(all_words()) == 8636
    assert all_words() > set(everyday_words())
    assert len(set(everyday_words())) == len(everyday_words()) > 550


def test_knowledge() -> None:
    game = Game("crane", 6)
    game.guess("stare")
    state = game.state()
    assert (state["known_greens"], state["known_yellows"]) == ({"3": "A", "5": "E"}, ["R"])
    assert state["eliminated_letters"] == ["S", "T"]
    assert (state["turn"], state["turns_remaining"], state["guesses"]) == (1, 5, ["STARE"])


def test_the_target_is_told_only_at_the_end() -> None:
    game = Game("crane", 2)
    assert game.guess("stare")["target_word"] is None
    assert game.guess("house")["target_word"] == "CRANE"
    assert (game.over, game.won, game.reward) == (True, False, 0.0)
    assert game.guess("crane") == {**game.guess("crane"), "valid": False, "won": False}


def test_a_win_is_worth_something_whatever_went_before() -> None:
    game = Game("crane", 40)
    for _ in range(20):
        game.guess("fuzzy")
    game.guess("crane")
    assert game.reward == 0.1


CALLS = st.one_of(
    st.builds(lambda word: ("submit_guess", json.dumps({"guess": word})), st.text(max_size=6)),
    st.builds(lambda word: ("submit_guess", json.dumps({"guess": word})), st.sampled_from(everyday_words())),
    st.tuples(st.sampled_from(["submit_guess", "check_word_validity", "get_game_state", "x"]), st.text(max_size=9)),
)


@given(st.lists(st.lists(CALLS, max_size=3), max_size=8))
async def test_any_calls_are_answered(turns: list[list[tuple[str, str]]]) -> None:
    made = [
        [function_call(name, arguments, f"call_{turn}_{number}") for number, (name, arguments) in enumerate(calls)]
        for turn, calls in enumerate(turns)
    ]
    reward, trajectory = await play(SERVER, ROW, made)
    assert 0.0 <= reward.value <= 1.8
    answered = [item["call_id"] for item in trajectory.items if item.get("type") == "function_call_output"]
    assert answered == [call["call_id"] for call in function_calls(trajectory.items)]
    assert (reward.value > 0) == (reward.extra["info"]["game_outcome"] == "win")


@pytest.mark.parametrize("target", ["xyzzy", "cranes", ""])
def test_targets_are_words(target: str) -> None:
    with pytest.raises(ValidationError, match="custom_target"):
        Wordle.Task.model_validate(ROW | {"custom_target": target})
