"""One game of Wordle: what was guessed, what is known, and what it is worth so far.

Numbers and rules are NeMo Gym's ``wordle``: a win is worth 2.0 less 0.2 per guess after the first, a win at the first
guess as much as one at the third; guesses against what is known cost a little and only lessen a win.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gym_ray.environments.wordle.words import WORD_LENGTH, all_words, feedback

REPEATED, IGNORES_GREEN, IGNORES_YELLOW, USES_GREY, NO_WORD = -0.2, -0.05, -0.03, -0.02, -0.02
LEAST_WIN = 0.1


@dataclass(slots=True)
class Game:
    """A game in play. Letters and words in lower case; places count from 0."""

    target: str
    max_turns: int
    turn: int = 0
    guesses: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    greens: dict[int, str] = field(default_factory=dict)
    yellows: set[str] = field(default_factory=set)
    greys: set[str] = field(default_factory=set)
    over: bool = False
    won: bool = False
    points: float = 0.0

    @property
    def turns_left(self) -> int:
        """Guesses that are left."""
        return 0 if self.over else self.max_turns - self.turn

    @property
    def reward(self) -> float:
        """What the game would be worth if it ended now: never less than 0.0."""
        return max(self.points, 0.0)

    def guess(self, word: str) -> dict[str, Any]:
        """Play a word. Any text takes a turn, also one that is no word. The answer has NeMo Gym's fields."""
        if self.over:
            return self._answer(False, error="Game is already over.")
        self.turn += 1
        problem = problem_of(word)
        if problem is None:
            self._play(word)
        else:
            self.points += NO_WORD
        if self.turn >= self.max_turns and not self.won:
            self.over, self.points = True, 0.0
        return self._answer(problem is None, problem)

    def state(self) -> dict[str, Any]:
        """Everything that is known, in NeMo Gym's fields. Places count from 1."""
        return {
            "turn": self.turn,
            "turns_remaining": self.max_turns - self.turn,
            "guesses": [guess.upper() for guess in self.guesses],
            "feedback_history": self.answers,
            "known_greens": {str(place + 1): letter.upper() for place, letter in self.greens.items()},
            "known_yellows": sorted(letter.upper() for letter in self.yellows),
            "eliminated_letters": sorted(letter.upper() for letter in self.greys),
            "game_over": self.over,
            "won": self.won,
        }

    def _answer(self, valid: bool, error: str | None = None) -> dict[str, Any]:
        return {
            "valid": valid,
            "feedback": self.answers[-1] if valid else None,
            "won": self.won,
            "game_over": self.over,
            "turn": self.turn,
            "turns_remaining": self.turns_left,
            "error": error,
            "target_word": self.target.upper() if self.over and (valid or self.won) else None,
        }

    def _play(self, word: str) -> None:
        self.points += self._cost(word)
        self.guesses.append(word)
        self.answers.append(feedback(word, self.target))
        self._learn(word, self.answers[-1])
        if word == self.target:
            self.won = self.over = True
            self.points = max(self.points + 2.0 - 0.2 * ((3 if self.turn == 1 else self.turn) - 1), LEAST_WIN)

    def _cost(self, word: str) -> float:
        """What a guess loses against what is known. The winning guess loses nothing."""
        if word == self.target:
            return 0.0
        cost = REPEATED if word in self.guesses else 0.0
        cost += IGNORES_GREEN * sum(word[place] != letter for place, letter in self.greens.items())
        if self.yellows and self.yellows.isdisjoint(word):
            cost += IGNORES_YELLOW
        return cost + USES_GREY * sum(letter in self.greys for letter in word)

    def _learn(self, word: str, signs: str) -> None:
        self.greens |= {place: word[place] for place, sign in enumerate(signs) if sign == "G"}
        self.yellows |= {letter for letter, sign in zip(word, signs, strict=True) if sign == "Y"}
        grey = {letter for letter, sign in zip(word, signs, strict=True) if sign == "_"}
        self.greys |= grey - set(self.greens.values()) - self.yellows


def problem_of(word: str) -> str | None:
    """Why ``word`` cannot be guessed, or None."""
    if len(word) != WORD_LENGTH:
        return f"A guess has {WORD_LENGTH} letters, this one has {len(word)}."
    return None if word in all_words() else f"{word!r} is not in the word list."
