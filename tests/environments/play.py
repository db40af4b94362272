"""Playing step-wise environments turn by turn, as the gymnasium loop does, in this process."""

from __future__ import annotations

from typing import Any

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.golden import Golden, Replay
from gym_ray.resources.host import Host
from gym_ray.types.items import Item, assistant_message
from gym_ray.types.outcome import Reward
from gym_ray.types.trajectory import Trajectory


async def play(server: str, row: dict[str, Any], turns: list[list[Item]]) -> tuple[Reward, Trajectory]:
    """The verdict on ``turns`` and all that was said."""
    host = Host("play", EnvironmentConfig(server=server))
    replay = Replay(host, row, Golden(task=row, turns=turns, expected_reward=0.0), _as_it_is)
    await replay.run()
    assert isinstance(replay.verdict, Reward)
    return replay.verdict, replay.trajectory


def said(*texts: str) -> list[list[Item]]:
    """One turn per text."""
    return [[assistant_message(text)] for text in texts]


async def _as_it_is(_: str, work: Any) -> Any:
    return await work
