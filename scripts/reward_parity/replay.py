"""Recorded answers graded by our environments."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from gym_ray.cli.compose import conf_dir
from gym_ray.environments import catalog
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.golden import Golden, Replay, ScriptedJudges
from gym_ray.resources.host import Host
from gym_ray.types.errors import RolloutError
from gym_ray.types.items import item_text
from gym_ray.types.outcome import Reward
from reward_parity.recordings import Json, Recording, recorded_for

TOLERANCE = 1e-6


@dataclass(slots=True)
class Parity:
    """One environment against its recordings. ``differences`` and ``ungraded`` say which row and what."""

    environment: str
    places: list[str] = field(default_factory=list)
    agree: int = 0
    differences: list[str] = field(default_factory=list)
    ungraded: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Recorded answers."""
        return self.agree + len(self.differences) + len(self.ungraded)


def compare(root: Path, chosen: list[str]) -> list[Parity]:
    """Every environment of the library that has recordings under ``root``, or only ``chosen``.

    A choice that is a library environment with other options takes what no environment did.
    """
    library = catalog.names()
    variants = sorted({file.stem for file in (conf_dir() / "env").glob("*.yaml")} - set(library))
    parities: list[Parity] = []
    for name in chosen or [*library, *variants]:
        taken = {place for parity in parities for place in parity.places} if name in variants else set()
        parities.append(asyncio.run(_compare(root, name, taken)))
    return [parity for parity in parities if parity.rows]


async def _compare(root: Path, name: str, taken: set[str]) -> Parity:
    text = (conf_dir() / "env" / f"{name}.yaml").read_text(encoding="utf-8")
    config = EnvironmentConfig.model_validate(yaml.safe_load(text))
    parity = Parity(name)
    recordings = recorded_for(root, set(config.aliases), taken)
    if not recordings:
        return parity
    host = Host(name, config, ScriptedJudges())
    try:
        for number, recording in enumerate(recordings):
            await _add(parity, host, recording, number)
    finally:
        await host.aclose()
    return parity


async def _add(parity: Parity, host: Host, recording: Recording, number: int) -> None:
    if recording.place not in parity.places:
        parity.places.append(recording.place)
    title = f"row {number}: recorded {recording.reward:g}"
    try:
        verdict = await _verdict(host, recording)
    except RolloutError as error:
        parity.ungraded.append(f"{title}, {error.kind}: {error.reason[:160]}")
        return
    if not isinstance(verdict, Reward):
        parity.ungraded.append(f"{title}, {verdict or 'only groups are graded'}"[:240])
    elif abs(verdict.value - recording.reward) <= TOLERANCE:
        parity.agree += 1
    else:
        parity.differences.append(f"{title}, ours {verdict.value:g}")


async def _verdict(host: Host, recording: Recording) -> Any:
    played: Json = {"turns": _turns(recording.output)} if host.gymnasium else {"items": recording.output}
    golden = Golden(task=recording.row, judge=recording.judge, expected_reward=recording.reward, **played)
    replay = Replay(host, recording.row, golden, _await)
    await replay.run()
    if host.gymnasium and not _same_start(replay, recording):
        return "another start: what it was dealt cannot be dealt again"
    return replay.verdict


def _same_start(replay: Replay, recording: Recording) -> bool:
    """True when the row says how the game begins, or what was shown at first is what was shown then (or nothing)."""
    if recording.row.get("level"):
        return True
    first = replay.trajectory.items[0] if replay.trajectory.items else {}
    return first.get("role") != "user" or item_text(first) in recording.start


def _turns(output: list[Json]) -> list[list[Json]]:
    """The model's items, turn by turn: what others said lies between them."""
    return [list(items) for by_model, items in groupby(output, _by_model) if by_model]


def _by_model(item: Json) -> bool:
    return item.get("role", "assistant") == "assistant" and item.get("type") != "function_call_output"


async def _await(_: str, operation: Awaitable[Any]) -> Any:
    return await operation
