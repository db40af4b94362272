"""Sokoban: -0.1 per move, 1.0 per box pushed onto a target (-1.0 for one pushed off), 10.0 when all are there.

One move per turn. The board is the row's ``level``, or is made from its ``seed``; it can always be solved when it was
made here. All state is in the session and a move takes microseconds: the environment is ``pure``.
"""

from __future__ import annotations

import random
import re
from typing import Annotated, Any

from pydantic import Field, model_validator

from gym_ray.environments.sokoban.board import MOVES, Board
from gym_ray.environments.sokoban.levels import make_board
from gym_ray.resources.gymnasium import GymnasiumServer, StepResult
from gym_ray.resources.server import Session
from gym_ray.types.items import Item, output_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

MOVE_REWARD, BOX_REWARD, SOLVED_REWARD = -0.1, 1.0, 10.0
_TAG = re.compile(r"<action>\s*(up|down|left|right|[1-4])\s*</action>", re.IGNORECASE)
_WORD = re.compile(r"\b(up|down|left|right|[1-4])\b", re.IGNORECASE)
_NAMES = {name: move for number, move in enumerate(MOVES, 1) for name in (move.lower(), str(number))}


class Sokoban(GymnasiumServer):
    """Sokoban, one move per turn."""

    pure = True

    class Task(TaskRow):
        """A board to solve, in NeMo Gym's ``grl_sokoban`` layout."""

        level: str | None = None
        """The board as text. Null: one is made from the next three fields."""
        seed: int | None = None
        """Decides the board. Null without a level: every rollout gets another one."""
        dim_room: tuple[Annotated[int, Field(ge=4, le=20)], Annotated[int, Field(ge=4, le=20)]] = (6, 6)
        """Rows and columns, outer walls included."""
        num_boxes: int = Field(default=1, ge=1, le=4)
        """How many boxes to push."""
        max_steps: int = Field(default=100, ge=1)
        """The episode is cut after so many moves."""

        @model_validator(mode="after")
        def _check_level(self) -> Sokoban.Task:
            if self.level is not None:
                Board.read(self.level)
            return self

    async def seed(self, task: Any) -> Session:
        """The board at the start."""
        if task.level is not None:
            board = Board.read(task.level)
        else:
            height, width = task.dim_room
            board = make_board(random.Random(task.seed), height, width, task.num_boxes)
        return {"board": board, "moves": 0, "info": {"success": False}}

    async def reset(self, task: Any, session: Session) -> str:
        """The board."""
        return _shown(session["board"])

    async def step(self, task: Any, action: list[Item], session: Session) -> StepResult:
        """Plays the first action tag of the text, else its first word that names a move, else stays."""
        before: Board = session["board"]
        move = read_move(output_text(action))
        after = before if move is None else before.moved(move)
        session["board"] = after
        session["moves"] += 1
        session["info"] = {
            "action_is_effective": after is not before,
            "action_is_valid": move is not None,
            "success": after.solved,
            "action_id": None if move is None else list(MOVES).index(move) + 1,
            "action_label": move,
        }
        reward = MOVE_REWARD + BOX_REWARD * (after.placed - before.placed) + SOLVED_REWARD * after.solved
        cut = not after.solved and session["moves"] >= task.max_steps
        note = "" if move is not None else "That named no move.\n"
        observation = None if after.solved or cut else note + _shown(after)
        return StepResult(observation, reward, terminated=after.solved, truncated=cut)

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """Sum of the step rewards. ``extra.info``: the last move's, ``total_reward`` and the final ``board``."""
        total = float(sum(trajectory.step_rewards))
        info = {**session["info"], "total_reward": total, "board": str(session["board"])}
        return Reward(total, extra={"info": info})


def read_move(text: str) -> str | None:
    """The move that a text names, by word or by NeMo Gym's number; a tag counts before a bare word."""
    found = _TAG.search(text) or _WORD.search(text)
    return None if found is None else _NAMES.get(found.group(1).lower())


def _shown(board: Board) -> str:
    return f"{board}\nAnswer with one move: <action>Up</action>, Down, Left or Right."
