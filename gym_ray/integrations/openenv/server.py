"""OpenEnv environments: ``env=openenv env.options.url=http://HOST:PORT``.

The environment stays what it is, a server in its own container or process; each session is one WebSocket session there
(raise its ``max_concurrent_envs``). Its actions are tools: those of an MCP environment by their names, the one typed
action of any other as ``step``. A turn's calls run in order; the episode ends when the environment says so, or with a
turn that calls nothing. The reward is the sum of what reset and steps gave.

Format: OpenEnv 0.10, by its own generic client.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from gym_ray.integrations.openenv.actions import Actions, discover
from gym_ray.resources.gymnasium import GymnasiumServer, StepResult
from gym_ray.resources.schema import ToolSpec
from gym_ray.resources.server import Session
from gym_ray.resources.toolbox import error_text, text_of
from gym_ray.types.errors import FailureKind, RolloutError, Stage, describe
from gym_ray.types.items import Item, function_calls
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory


class OpenEnv(GymnasiumServer):
    """One OpenEnv server. State of a session: its ``client``, ``reset_reward``, ``done``, ``steps``.

    Options:
        url: of the server.
        reset: arguments of every reset.
    """

    class Task(TaskRow):
        """An episode."""

        seed: int | None = None
        """Of the reset."""
        reset_options: dict[str, Any] = Field(default_factory=dict)
        """Further arguments of the reset; they come before those of the options."""

    def __init__(self, url: str, reset: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._url, self._reset = url, reset or {}
        self._actions: Actions = discover(url)

    def offered_tools(self) -> dict[str, ToolSpec]:
        """What the server says it takes."""
        return {str(tool["name"]): ToolSpec(str(tool["name"]), tool) for tool in self._actions.definitions}

    async def seed(self, task: Any) -> Session:
        """A session on the server, reset.

        Raises:
            RolloutError: not terminal, when the server cannot be reached or takes no more sessions.
        """
        client = self._actions.client(self._url)
        arguments = {**self._reset, **task.reset_options, **({} if task.seed is None else {"seed": task.seed})}
        try:
            first = await client.reset(**arguments)
        except (OSError, RuntimeError) as error:
            await client.close()
            reason = f"{self._url}: {describe(error)}"
            raise RolloutError(FailureKind.SEED_ERROR, Stage.SEED, reason, terminal=False) from None
        except BaseException:
            await client.close()
            raise
        return {
            "client": client,
            "first": text_of(first.observation),
            "reset_reward": float(first.reward or 0.0),
            "done": bool(first.done),
            "steps": 0,
        }

    async def reset(self, task: Any, session: Session) -> str:
        """The observation of the reset, as JSON."""
        return str(session["first"])

    async def step(self, task: Any, action: list[Item], session: Session) -> StepResult:
        """Run the turn's calls, in order."""
        result = StepResult()
        calls = function_calls(action)
        for call in calls:
            output, reward = await self._called(session, call)
            result.tool_outputs[call["call_id"]] = output
            result.reward += reward
        result.terminated = session["done"] or not calls
        return result

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """Reset's and steps' rewards together. ``extra``: ``steps`` taken, and whether the environment was ``done``."""
        total = session["reset_reward"] + float(sum(trajectory.step_rewards))
        return Reward(total, extra={"steps": session["steps"], "done": session["done"]})

    async def close(self, session: Session) -> None:
        """End the session on the server."""
        await session["client"].close()

    async def _called(self, session: Session, call: Item) -> tuple[str, float]:
        """What the model is answered, and the reward."""
        if session["done"]:
            return error_text("the episode is over"), 0.0
        try:
            action = self._actions.action(call["name"], json.loads(call.get("arguments") or "{}"))
            result = await session["client"].step(action)
        except (ValueError, RecursionError) as error:
            return error_text(describe(error)), 0.0
        except RuntimeError as error:
            # What the server itself refused: fields that do not fit, an action that raised.
            return error_text(str(error)[:2000]), 0.0
        session["steps"] += 1
        session["done"] = bool(result.done)
        return self._actions.output(result.observation), float(result.reward or 0.0)
