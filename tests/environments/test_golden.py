"""Every recorded answer gets the reward, or the mask, that its record promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gym_ray.environments import catalog
from gym_ray.environments.calendar import Calendar
from gym_ray.environments.instruction_following import InstructionFollowing
from gym_ray.environments.math import Math
from gym_ray.environments.mcqa import Mcqa
from gym_ray.environments.multi_reward import MultiReward
from gym_ray.environments.single_step_tool_use import SingleStepToolUse
from gym_ray.environments.string_match import StringMatch
from gym_ray.environments.structured_outputs import StructuredOutputs
from gym_ray.environments.workplace import Workplace
from gym_ray.environments.xlam_fc import XlamFc
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.errors import MaskRollout
from tests.environments.support import golden, grade, rows_of

SERVERS: dict[str, type[ResourcesServer]] = {
    "calendar": Calendar,
    "instruction_following": InstructionFollowing,
    "math": Math,
    "mcqa": Mcqa,
    "multi_reward": MultiReward,
    "single_step_tool_use": SingleStepToolUse,
    "string_match": StringMatch,
    "structured_outputs": StructuredOutputs,
    "workplace": Workplace,
    "xlam_fc": XlamFc,
}
CASES = [(name, row, record) for name in SERVERS for row, record in golden(name)]


@pytest.mark.parametrize(("name", "row", "record"), CASES, ids=[f"{name}: {r['note']}" for name, _, r in CASES])
async def test_reward(name: str, row: dict[str, Any], record: dict[str, Any]) -> None:
    server = SERVERS[name]()
    if record["expected_mask"] is not None:
        with pytest.raises(MaskRollout) as masked:
            await grade(server, row, record["items"], execute=record["tool_calls_executed"])
        assert masked.value.kind == record["expected_mask"]
        return
    reward = await grade(server, row, record["items"], execute=record["tool_calls_executed"])
    assert reward.value == record["expected_reward"], reward.extra
    json.dumps(reward.extra)


@pytest.mark.parametrize("name", SERVERS)
def test_files_are_complete(name: str) -> None:
    examples, records = rows_of(catalog.examples_path(name)), rows_of(catalog.golden_path(name))
    assert len(examples) >= 5
    assert len(records) >= 10
    assert {record["expected_reward"] for record in records} >= {0.0, 1.0}
    assert all((record["expected_reward"] is None) != (record["expected_mask"] is None) for record in records)
    ids = [row["task_id"] for row in examples]
    assert len(set(ids)) == len(ids)
    for row in examples:
        SERVERS[name].Task.model_validate(row)
        assert row["environment"] == name
    card = catalog.card_path(name).read_text(encoding="utf-8")
    for word in ("Apache-2.0", "| field", "NeMo Gym", "0.0", "1.0"):
        assert word in card


def test_the_catalog_knows_them_all() -> None:
    assert set(SERVERS) <= set(catalog.names())


def test_the_guide_names_them_all() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "environments.md").read_text(encoding="utf-8")
    assert [name for name in catalog.names() if f"`{name}`" not in guide] == []
