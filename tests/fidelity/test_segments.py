"""Agents that show the model something else than what was said: each such call begins a segment, nothing is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gym_ray.models.protocol import ModelRequest
from gym_ray.types.items import Item, user_message
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn
from tests.fidelity.families import STABLE
from tests.fidelity.recording import DirectModel, Sampled, talk
from tests.fidelity.test_templates import check_record
from tests.models.serve.fakes import bytewise


@pytest.fixture
def model() -> DirectModel:
    model = DirectModel(STABLE)
    asyncio.run(model.policy.start())
    return model


def says(model: DirectModel, text: str) -> None:
    model.engine.next = Sampled(bytewise(model.engine.tokenizer, text))


def test_a_compaction_begins_a_segment_and_goes_on_in_it(model: DirectModel) -> None:
    conversation, trajectory = talk(model, [user_message("a long story")], "s", [])

    async def go() -> None:
        for number in range(6):
            says(model, f"<think>hm</think>part {number}")
            await conversation.ask()
            if number == 2:
                conversation.restart([user_message("what happened so far: little")])
            conversation.add(user_message("go on"))

    asyncio.run(go())
    assert check_record(model, trajectory) == 2
    assert "part 2" not in model.engine.tokenizer.decode(model.engine.seen[3])
    assert "part 3" in model.engine.tokenizer.decode(model.engine.seen[4])


def test_a_sub_agent_in_between_has_segments_of_its_own(model: DirectModel) -> None:
    conversation, trajectory = talk(model, [user_message("the whole")], "s", [])

    async def sub_agent() -> None:
        says(model, "a piece")
        reply = await model.respond(ModelRequest({}, [user_message("a part")], "s/sub"))
        trajectory.items += reply.items
        last = len(trajectory.items) - 1
        trajectory.turns.append(Turn(last, FinishReason.STOP, reply.usage, reply.tokens))

    async def go() -> None:
        for _ in range(2):
            says(model, "let us see")
            await conversation.ask()
            await sub_agent()
            conversation.add(user_message("a piece was found"))
        says(model, "done")
        await conversation.ask()

    asyncio.run(go())
    assert len(model.engine.seen) == 5
    assert check_record(model, trajectory) == 5


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param(lambda items: [user_message("new first"), *items], id="put in front"),
        pytest.param(lambda items: items[2:], id="window moved"),
    ],
)
def test_an_edited_history_with_old_ids_begins_a_segment(model: DirectModel, edited: Any) -> None:
    conversation, trajectory = talk(model, [user_message("one"), user_message("two")], "s", [])

    async def go() -> tuple[list[Item], Any]:
        for _ in range(3):
            says(model, "yes")
            await conversation.ask()
            conversation.add(user_message("and?"))
        last = trajectory.turns[-1].tokens
        items = edited([*trajectory.input, *trajectory.items])
        says(model, "no")
        return items, await model.respond(ModelRequest({}, items, "s", last, len(items) - 1))

    items, reply = asyncio.run(go())
    grown = Trajectory(trajectory.input, [*trajectory.items, *reply.items], list(trajectory.turns))
    grown.turns.append(Turn(len(grown.items) - 1, FinishReason.STOP, reply.usage, reply.tokens))
    assert check_record(model, grown) == 2
    rendered = model.engine.tokenizer.decode(reply.tokens.prompt)
    assert rendered.count("<|im_start|>") == len(items) + 1
