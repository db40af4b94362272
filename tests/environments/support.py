"""Running golden rows and expert turns against an environment, without any host."""

from __future__ import annotations

import json
from typing import Any

from gym_ray.environments import catalog
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.resources.toolbox import Toolbox
from gym_ray.types.items import Item
from gym_ray.types.outcome import Reward
from gym_ray.types.trajectory import Trajectory


def rows_of(path: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def golden(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(task row, golden record) pairs."""
    examples = rows_of(catalog.examples_path(name))
    records = rows_of(catalog.golden_path(name))
    return [(examples[r["task"]] if isinstance(r["task"], int) else r["task"], r) for r in records]


async def run_calls(toolbox: Toolbox, session: Session, items: list[Item]) -> list[str]:
    """Outputs of the function calls among ``items``, as the tool loop would run them."""
    outputs = []
    for item in items:
        if item.get("type") == "function_call":
            try:
                arguments = json.loads(item["arguments"])
            except ValueError:
                outputs.append("not JSON")
                continue
            outputs.append(await toolbox.call(session, item["name"], arguments))
    return outputs


async def grade(server: ResourcesServer, row: dict[str, Any], items: list[Item], *, execute: bool = True) -> Reward:
    """Seed, run the calls, verify."""
    task = server.Task.model_validate(row)
    session = await server.seed(task)
    if execute:
        await run_calls(Toolbox(server, 10.0), session, items)
    reward = await server.verify(task, Trajectory.of_items(items), session)
    assert isinstance(reward, Reward)
    return reward
