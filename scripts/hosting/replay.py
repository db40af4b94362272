"""One server's recordings, replayed through a hosted one: seed, recorded calls, verify; or reset and steps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gym_ray.resources.gymnasium import StepResult
from gym_ray.resources.protocol import Resources, ResourcesSession
from gym_ray.types.errors import MaskRollout, RolloutError
from gym_ray.types.items import input_items, user_message
from gym_ray.types.trajectory import Trajectory
from hosting.recordings import Recording

ROW_TIMEOUT_S = 60.0
SAME = 1e-6
ELSEWHERE = ("did not start", "getaddrinfo", "Sandbox provider")
"""In the reasons of what wants a key, an address or a sandbox."""


class Verdict(StrEnum):
    """What became of one recorded rollout."""

    REPRODUCED = "reproduced"
    DIFFERS = "differs"
    JUDGE = "judge"
    """Its verdict needs a model, and none was bound."""
    ABSENT = "absent"
    """A sandbox, program, data file or service is not here."""
    STALE = "stale"
    """The recording cannot be verified: it lacks what the server reads, or does not parse."""
    HUNG = "hung"
    """Nothing came within the deadline."""
    ERROR = "error"


@dataclass(frozen=True)
class Result:
    """``said``: the reward, or the reason why there is none."""

    verdict: Verdict
    recorded: float | None = None
    said: str = ""


async def replay(resources: Resources, recording: Recording) -> Result:
    """The best of the ways to complete the row: a reproduced reward, else a verdict, else the first reason."""
    results = []
    for row in recording.rows:
        result = await _attempt(resources, recording, row)
        if result.verdict is Verdict.REPRODUCED:
            return result
        results.append(result)
    return next((one for one in results if one.verdict is not Verdict.STALE), results[0])


async def _attempt(resources: Resources, recording: Recording, row: dict[str, Any]) -> Result:
    run = _play if resources.gymnasium else _verify
    try:
        async with asyncio.timeout(ROW_TIMEOUT_S):
            session = await resources.seed(row, "replay/0")
            try:
                value = await run(session, recording, row)
            finally:
                await session.close()
    except (MaskRollout, RolloutError) as error:
        return Result(_kind(str(error.kind), error.reason), recording.reward, f"{error.kind}: {error.reason}")
    except _CutShort as error:
        return Result(Verdict.STALE, recording.reward, str(error))
    except TimeoutError:
        return Result(Verdict.HUNG, recording.reward, f"nothing within {ROW_TIMEOUT_S:g} s")
    same = abs(value - recording.reward) <= SAME
    return Result(Verdict.REPRODUCED if same else Verdict.DIFFERS, recording.reward, f"{value:g}")


class _CutShort(Exception):
    """The recording holds fewer turns than the episode had."""


async def _verify(session: ResourcesSession, recording: Recording, row: dict[str, Any]) -> float:
    for item in recording.items:
        if item.get("type") == "function_call":
            await _call(session, item)
    trajectory = Trajectory(input_items(row["responses_create_params"]), recording.items, model="recorded")
    return (await session.verify(trajectory)).value


async def _call(session: ResourcesSession, item: dict[str, Any]) -> None:
    try:
        arguments = json.loads(item.get("arguments") or "{}")
    except ValueError:
        return
    if isinstance(arguments, dict):
        await session.call_tool(item["name"], arguments)


async def _play(session: ResourcesSession, recording: Recording, row: dict[str, Any]) -> float:
    trajectory, result = Trajectory(input_items(row["responses_create_params"])), StepResult()
    for turn in recording.turns():
        trajectory.items += turn
        result = await session.step(turn)
        trajectory.step_rewards.append(result.reward)
        if result.observation is not None:
            trajectory.items.append(user_message(result.observation))
        if result.terminated or result.truncated:
            break
    value = (await session.verify(trajectory)).value
    if abs(value - recording.reward) > SAME and not (result.terminated or result.truncated):
        raise _CutShort(f"the episode goes on after the recorded turns, with {value:g} so far")
    return value


def _kind(kind: str, reason: str) -> Verdict:
    rules: list[tuple[Verdict, Callable[[], bool]]] = [
        (Verdict.JUDGE, lambda: kind.startswith("judge")),
        (Verdict.ABSENT, lambda: kind == "provider_unavailable" or _has(reason, "FileNotFound", "No such file")),
        (Verdict.STALE, lambda: _has(reason, "HTTP 422", "KeyError", "Field required", "multiple values")),
        (
            Verdict.ABSENT,
            lambda: _has(reason, "ModuleNotFound", "No module named", "ImportError", "Connect", "resolve", *ELSEWHERE),
        ),
    ]
    return next((verdict for verdict, holds in rules if holds()), Verdict.ERROR)


def _has(text: str, *parts: str) -> bool:
    return any(part in text for part in parts)
