"""Wordle through tools: 1.0 to 1.8 for the word, by how soon it is found, less small penalties; 0.0 without it.

One model turn may call any tools; the episode ends when the game is over or a turn calls none. The reward comes at
the end. All state is in the session and a guess takes microseconds: the environment is ``pure``.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, field_validator

from gym_ray.environments.wordle.game import Game, problem_of
from gym_ray.resources.gymnasium import GymnasiumServer, StepResult
from gym_ray.resources.server import Session, tool
from gym_ray.resources.toolbox import Toolbox, error_text
from gym_ray.types.items import Item, function_calls
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory


class Wordle(GymnasiumServer):
    """Wordle: find a five-letter word in six guesses."""

    pure = True

    class Task(TaskRow):
        """A word to find, in NeMo Gym's layout."""

        custom_target: str
        """The secret word."""
        word_length: Literal[5] = 5
        """There are only words of five letters."""
        max_turns: int = Field(default=6, ge=1)
        """How many guesses there are."""

        @field_validator("custom_target")
        @classmethod
        def _check_target(cls, word: str) -> str:
            if problem := problem_of(word.lower()):
                raise ValueError(problem)
            return word.lower()

    def __init__(self) -> None:
        super().__init__()
        self._toolbox = Toolbox(self, self.tool_timeout_s)

    async def seed(self, task: Any) -> Session:
        """A game without a guess."""
        return {"game": Game(task.custom_target, task.max_turns)}

    @tool
    async def submit_guess(self, session: Session, guess: str) -> dict[str, Any]:
        """Guess a five-letter word. Per letter: G right place, Y elsewhere in the word, _ not in it."""
        game: Game = session["game"]
        return game.guess(guess.lower().strip())

    @tool
    async def check_word_validity(self, session: Session, word: str) -> dict[str, Any]:
        """Ask whether a word may be guessed. Takes no turn."""
        problem = problem_of(word.lower().strip())
        return {"valid": problem is None, "reason": problem or "Valid word"}

    @tool
    async def get_game_state(self, session: Session) -> dict[str, Any]:
        """Show the guesses so far and what is known of each letter. Takes no turn."""
        game: Game = session["game"]
        return game.state()

    async def step(self, task: Any, action: list[Item], session: Session) -> StepResult:
        """Run the turn's calls, in order."""
        calls = function_calls(action)
        outputs = {call["call_id"]: await self._called(session, call) for call in calls}
        game: Game = session["game"]
        if calls and not game.over:
            return StepResult(tool_outputs=outputs)
        return StepResult(reward=game.reward, terminated=True, tool_outputs=outputs)

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """The reward of the last step. ``extra.info``: ``game_outcome``, ``turns_used``, ``won``, ``turns_if_won``."""
        game: Game = session["game"]
        info = {
            "game_outcome": "win" if game.won else "loss" if game.over else "incomplete",
            "turns_used": game.turn,
            "won": float(game.won),
            "turns_if_won": float(game.turn) if game.won else 0.0,
        }
        return Reward(float(sum(trajectory.step_rewards)), extra={"info": info})

    async def _called(self, session: Session, call: Item) -> str:
        try:
            arguments = json.loads(call.get("arguments") or "{}")
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            return error_text(f"the arguments of {call['name']!r} are not a JSON object")
        return await self._toolbox.call(session, call["name"], arguments)
