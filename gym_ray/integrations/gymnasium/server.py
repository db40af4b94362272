"""Gymnasium environments by id: ``env=gymnasium env.options.id=FrozenLake-v1``.

Observations become text and texts become actions (``spaces``); rewards, endings and the seed are the environment's
own. Each session has an environment of its own, which runs in a thread: it may block, and one that never returns costs
its own rollout only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from pydantic import Field

from gym_ray.integrations.gymnasium.spaces import ActionText, observation_text
from gym_ray.resources.gymnasium import GymnasiumServer, StepResult
from gym_ray.resources.server import Session
from gym_ray.resources.toolbox import text_of
from gym_ray.types.errors import UserError
from gym_ray.types.items import Item, output_text
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

RENDERED = "ansi"
"""The render mode that gives text."""


class Gymnasium(GymnasiumServer):
    """One Gymnasium environment, stepped by a model.

    Options:
        id: as ``gymnasium.make`` takes it.
        actions: names of the actions of a ``Discrete`` space, in order; numbers without it.
        modules: imported first, because they register environments.
        kwargs: further arguments of ``gymnasium.make``.
    """

    class Task(TaskRow):
        """An episode."""

        seed: int | None = None
        """Of ``reset``. Null: every rollout begins otherwise."""
        reset_options: dict[str, Any] | None = Field(default=None)
        """``options`` of ``reset``."""

    def __init__(
        self,
        id: str,
        actions: Sequence[str] | None = None,
        modules: Sequence[str] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if find_spec("gymnasium") is None:
            raise UserError("environment `gymnasium` needs the package: pip install 'gym-ray[gymnasium]'")
        import gymnasium

        try:
            for module in modules:
                import_module(module)
            spec = gymnasium.spec(id)
            env = gymnasium.make(id, **(kwargs or {}))
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            raise UserError(f"environment `gymnasium`: options.id={id}: {error}") from None
        modes = env.metadata.get("render_modes") or ()
        self._kwargs = {**({"render_mode": RENDERED} if RENDERED in modes else {}), **(kwargs or {})}
        self._id, self._make = spec.id, gymnasium.make
        self._action = ActionText(env.action_space, actions)
        env.close()

    async def seed(self, task: Any) -> Session:
        """An environment that was not reset yet."""
        env = await asyncio.to_thread(self._make, self._id, **self._kwargs)
        return {"env": env, "info": {}, "unreadable": 0}

    async def reset(self, task: Any, session: Session) -> str:
        """The first observation, and how to act."""
        text, info = await asyncio.to_thread(_reset, session["env"], task.seed, task.reset_options)
        session["info"] = info
        return f"{text}\n{self._action.help}"

    async def step(self, task: Any, action: list[Item], session: Session) -> StepResult:
        """One step; a text that is no action of the space is answered with what one looks like, and changes nothing."""
        try:
            chosen = self._action.read(output_text(action))
        except ValueError as error:
            session["unreadable"] += 1
            return StepResult(f"{error} {self._action.help}")
        text, reward, terminated, truncated, info = await asyncio.to_thread(_step, session["env"], chosen)
        session["info"] = info
        over = terminated or truncated
        return StepResult(None if over else text, reward, terminated, truncated and not terminated)

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """Sum of the step rewards. ``extra``: the environment's last ``info``, ``unreadable`` actions."""
        extra = {"info": json.loads(text_of(session["info"])), "unreadable": session["unreadable"]}
        return Reward(float(sum(trajectory.step_rewards)), extra=extra)

    async def close(self, session: Session) -> None:
        """Close the environment."""
        await asyncio.to_thread(session["env"].close)


def _reset(env: Any, seed: int | None, options: dict[str, Any] | None) -> tuple[str, dict[str, Any]]:
    observation, info = env.reset(seed=seed, options=options)
    return _shown(env, observation), dict(info)


def _step(env: Any, action: Any) -> tuple[str, float, bool, bool, dict[str, Any]]:
    observation, reward, terminated, truncated, info = env.step(action)
    return _shown(env, observation), float(reward), bool(terminated), bool(truncated), dict(info)


def _shown(env: Any, observation: Any) -> str:
    picture = env.render() if env.render_mode == RENDERED else None
    return observation_text(env.observation_space, observation, picture)
