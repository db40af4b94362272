"""Blackjack: reward 1.0 for a win, 0.0 for a draw, -1.0 for a loss; one decision per turn.

A hand is dealt from the row's ``seed``, so every rollout of a task plays the same cards for the same decisions. All
state is in the session, and nothing takes longer than microseconds: the environment is ``pure``.
"""

from __future__ import annotations

import re
from typing import Any

from gym_ray.environments.blackjack.cards import Hand, total
from gym_ray.resources.gymnasium import GymnasiumServer, StepResult
from gym_ray.resources.server import Session
from gym_ray.types.items import Item, output_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

_ACTION = re.compile(r"<action>\s*(hit|stand)\s*</action>", re.IGNORECASE)


class Blackjack(GymnasiumServer):
    """Blackjack against a dealer who draws to 17."""

    pure = True

    class Task(TaskRow):
        """A hand to play."""

        seed: int | None = None
        """Decides all cards. Null, as in NeMo Gym's rows: every rollout gets other ones."""

    async def seed(self, task: Any) -> Session:
        """A dealt hand."""
        return {"hand": Hand.deal(task.seed)}

    async def reset(self, task: Any, session: Session) -> str:
        """The player's cards and the dealer's first."""
        return _shown(session["hand"])

    async def step(self, task: Any, action: list[Item], session: Session) -> StepResult:
        """Plays the first action tag of the text; a text without one stands."""
        hand: Hand = session["hand"]
        found = _ACTION.search(output_text(action))
        hits = found is not None and found.group(1).lower() == "hit"
        reward = hand.hit() if hits else hand.stand()
        over = hand.result is not None
        return StepResult(None if over else _shown(hand), reward, terminated=over)

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """Sum of the step rewards. ``extra.info``: ``result`` (null: not played to the end) and both hands."""
        hand: Hand = session["hand"]
        info = {
            "result": hand.result,
            "player": hand.player,
            "player_value": total(hand.player),
            "dealer": hand.dealer,
            "dealer_value": total(hand.dealer),
        }
        return Reward(float(sum(trajectory.step_rewards)), extra={"info": info})


def _shown(hand: Hand) -> str:
    cards = ", ".join(hand.player)
    return (
        f"You hold {cards}: {total(hand.player)}. The dealer shows {hand.dealer[0]}.\n"
        "Answer <action>hit</action> or <action>stand</action>."
    )
