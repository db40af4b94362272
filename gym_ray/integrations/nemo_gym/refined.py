"""NeMo Gym's servers that say how to go on: an answer that is not right comes back with a correction prompt.

What NeMo Gym's ``proof_refinement_agent`` does around ``/verify`` is an episode here: each answer is verified, and
while ``needs_correction`` is said and corrections are left, ``correction_prompt`` is the next observation. There every
correction begins a prompt of its own; here it goes on with the conversation, so that a rollout stays one sequence of
tokens. The last verdict counts.

Format: NeMo Gym 0.5 to 0.7, ``math_formal_lean`` (fields ``turn_index``, ``needs_correction``, ``correction_prompt``).
"""

from __future__ import annotations

from typing import Any

import orjson

from gym_ray.integrations.nemo_gym.server import NemoGym, reward_of
from gym_ray.resources.gymnasium import StepResult
from gym_ray.resources.server import Session
from gym_ray.types.errors import FailureKind, Stage, UserError
from gym_ray.types.items import Item
from gym_ray.types.outcome import Reward
from gym_ray.types.response import response_of
from gym_ray.types.trajectory import Trajectory


class Refined(NemoGym):
    """A NeMo Gym resources server whose ``/verify`` asks for corrections. Options: those of ``NemoGym``, and

    Options:
        corrections: tries after the first one.
    """

    def __init__(self, server: str, corrections: int = 2, **options: Any) -> None:
        super().__init__(server, **options)
        if self.stepwise:
            raise UserError(f"NeMo Gym's `{server}` is step-wise by itself: host it with {NemoGym.__name__}")
        self.stepwise, self._corrections = True, corrections

    async def seed(self, task: Any) -> Session:
        """As ``NemoGym``, with ``/seed_session``. State besides: ``answers``, ``verdict``."""
        session = await super().seed(task)
        answer = await self._post("seed_session", session, session["row"])
        self._checked(answer, FailureKind.SEED_ERROR, Stage.SEED)
        return {**session, "answers": 0, "verdict": None}

    async def reset(self, task: Any, session: Session) -> str | None:
        """Nothing: the row's prompt is all."""
        return None

    async def step(self, task: Any, action: list[Item], session: Session) -> StepResult:
        """``/verify`` with this answer alone."""
        row, turn = session["row"], session["answers"]
        response = response_of(Trajectory([], items=action), row["responses_create_params"])
        answer = await self._post("verify", session, {**row, "turn_index": turn, "response": response})
        if answer.status >= 400 and session["trouble"]:
            return StepResult(terminated=True)  # verify blames what failed outside
        said = self._checked(answer, FailureKind.VERIFIER_ERROR, Stage.VERIFY)
        session["answers"], session["verdict"] = turn + 1, orjson.dumps(said)
        prompt = said.get("correction_prompt") if said.get("needs_correction") else None
        if not prompt or turn >= self._corrections or session["trouble"]:
            return StepResult(terminated=True)
        return StepResult(str(prompt))

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """The last verdict; ``extra`` has ``num_answers`` besides its fields.

        Raises:
            MaskRollout: as ``NemoGym``; and where no answer came to its end.
        """
        verdict = orjson.loads(session["verdict"]) if session["verdict"] else {}
        reward = reward_of(verdict, session["row"], session["trouble"])
        reward.extra.pop("correction_prompt", None)
        reward.extra["num_answers"] = session["answers"]
        return reward
