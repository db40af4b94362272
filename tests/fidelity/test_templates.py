"""Random dialogues under every family of templates: what is on record is what the engine saw, id by id.

The engine samples anything: splits that no tokenizer makes, calls that no parser reads, marks spelled letter
by letter, turns without an end. Whatever happens, prompts on record are the engine's prompts, segments are
contiguous, and a renderer that remembers the session says exactly what one that renders everything says.
"""

from __future__ import annotations

import asyncio
import io
from functools import cache
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from gym_ray.collect.output.rows import make_row, to_jsonl
from gym_ray.collect.output.table import to_table
from gym_ray.models.chat import chat_params
from gym_ray.models.serve.render import Renderer
from gym_ray.types.items import Item, function_call_output, function_calls, item_text, user_message
from gym_ray.types.trajectory import Trajectory
from tests.fidelity import families
from tests.fidelity.recording import DirectModel, Sampled, talk
from tests.models.serve.fakes import bytewise
from tests.support.rollouts import make_rollout

TAKE = {"type": "function", "name": "take", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}
CALL = '<tool_call>{"name": "take", "arguments": {"n": 1}}</tool_call>'
FAMILIES = ["STABLE", "STRIPPING", "MERGING", "TRIMMING", "UNMARKED", "LATE", "DATED", "COUNTING", "SHOUTING"]
END = "<|im_end|>"


@cache
def model_of(family: str, keep_reasoning: bool = False) -> DirectModel:
    model = DirectModel(getattr(families, family), keep_reasoning=keep_reasoning)
    asyncio.run(model.policy.start())
    return model


def whole_of(family: str, keep_reasoning: bool = False) -> Renderer:
    engine = model_of(family).engine
    template = getattr(families, family)
    return Renderer(engine.tokenizer, engine.stop_ids, template, {}, keep_reasoning=keep_reasoning)


_BITS = ["a", " ", "\n", "é", "🙂", "take", "SHOUT", "hm", "</think>", "<think>hm", CALL, "<tool_call>{", END]
_BITS.append("<tool_response>x</tool_response>")
_texts = st.lists(st.sampled_from(_BITS), max_size=5).map("".join)
_thoughts = st.none() | st.sampled_from(["hm", " so\n", ""])


@st.composite
def sampled(draw: st.DrawFn) -> Sampled:
    """What an engine might sample: a text in a split of its own, or any ids at all."""
    engine = model_of("STABLE").engine
    if draw(st.integers(0, 5)) == 0:
        ids = st.integers(0, len(engine.tokenizer) - 1).filter(lambda token: token not in engine.stop_ids)
        return Sampled(draw(st.lists(ids, min_size=1, max_size=8)), draw(st.booleans()))
    thought, text = draw(_thoughts), draw(_texts) + draw(st.sampled_from(["", "", CALL, CALL + CALL]))
    whole = text if thought is None else f"<think>{thought}</think>{text}"
    ids, at = [], 0
    while at < len(whole):
        part = whole[at : at + draw(st.integers(1, 12))]
        at += len(part)
        spelled = END in part
        ids += bytewise(engine.tokenizer, part) if spelled else engine.tokenizer.encode(part, add_special_tokens=False)
    return Sampled(ids or bytewise(engine.tokenizer, "."), draw(st.integers(0, 4)) > 0)


_steps = st.lists(st.tuples(sampled(), st.lists(_texts, min_size=2, max_size=2), st.booleans()), min_size=1, max_size=6)


def play(family: str, steps: Any, tools: bool, keep: bool = False, first: str = "begin") -> tuple[DirectModel, Any]:
    """The dialogue, each prompt compared with that of a renderer without memory. Returns the trajectory too."""
    model, whole = model_of(family, keep), whole_of(family, keep)
    model.engine.seen, model.engine.made = [], []
    conversation, trajectory = talk(model, [user_message(first)], "session", [TAKE] if tools else [])
    body = chat_params({"tools": [TAKE]}) if tools else {}

    async def go() -> None:
        for said, texts, both in steps:
            items, last = list(conversation._items), conversation._last
            prefix = None if last is None else last.prompt + last.sampled
            expected = whole.prompt(items, body, prefix, conversation._covered)
            model.engine.next = said
            reply = await conversation.ask()
            assert reply.tokens is not None
            assert reply.tokens.prompt == expected[0]
            for item in answers(reply.items, texts, both):
                conversation.add(item)

    asyncio.run(go())
    return model, trajectory


def answers(said: list[Item], texts: list[str], both: bool) -> list[Item]:
    """A tool's answer to each call; a user message if there was none, or ``both``."""
    calls = function_calls(said)
    outputs = [function_call_output(call["call_id"], texts[0]) for call in calls]
    return outputs + ([user_message(texts[1])] if both or not calls else [])


def check_record(model: DirectModel, trajectory: Trajectory) -> int:
    """Both formats of the row, read back, say what the engine saw; returns the number of segments."""
    seen = list(zip(model.engine.seen, model.engine.made, strict=True))
    row = make_row(make_rollout(trajectory=trajectory))
    output = orjson.loads(to_jsonl(row))["response"]["output"]
    triplets = [item for item in output if "generation_token_ids" in item]
    assert [(item["prompt_token_ids"], item["generation_token_ids"]) for item in triplets] == seen

    file = io.BytesIO()
    pq.write_table(to_table([row]), file)
    (columns,) = pq.read_table(file).to_pylist()
    spans = orjson.loads(columns["extra"])["gym_ray"]["segments"]
    turns, start = [], 0
    for length, segment in zip(columns["segment_lengths"], spans, strict=True):
        its = {name: columns[name][start : start + length] for name in ("token_ids", "loss_mask", "policy_version")}
        for prompt_end, end in segment["spans"]:
            turns.append((its["token_ids"][:prompt_end], its["token_ids"][prompt_end:end]))
            assert its["loss_mask"][prompt_end:end] == [1] * (end - prompt_end)
            assert its["policy_version"][prompt_end:end] == [len(turns)] * (end - prompt_end)
        assert sum(its["loss_mask"]) == sum(end - prompt_end for prompt_end, end in segment["spans"])
        start += length
    assert turns == seen
    return len(spans)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=_steps, tools=st.booleans(), first=_texts)
def test_what_is_on_record_is_what_the_engine_saw(family: str, steps: Any, tools: bool, first: str) -> None:
    model, trajectory = play(family, steps, tools, first=first)
    segments = check_record(model, trajectory)
    expected = predicted(family, trajectory, tools)
    assert expected is None or segments == expected


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=_steps, tools=st.booleans())
def test_kept_reasoning_leaves_one_segment(steps: Any, tools: bool) -> None:
    assert check_record(*play("STRIPPING", steps, tools, keep=True)) == 1


def predicted(family: str, trajectory: Trajectory, tools: bool) -> int | None:
    """How many segments the family makes of it; None where odd texts make it too hard to say."""
    odd = ("think>", "<tool_response>", END, "\ufffd", "<|")
    said = [item.get("arguments", "") + item_text(item) for item in trajectory.items]
    if family in ("UNMARKED", "COUNTING") or any(mark in text for text in said for mark in odd):
        return None
    rewritten = 0
    ends = [0, *(turn.last_item + 1 for turn in trajectory.turns)]
    thought = False
    for start, begin, end in zip(ends, ends[1:], ends[2:], strict=False):
        new = [item for item in trajectory.items[begin:end] if item.get("role") == "user"]
        thought = thought or any(item.get("type") == "reasoning" for item in trajectory.items[start:begin])
        rewrites = (family == "STRIPPING" and thought) or (family == "LATE" and tools)
        rewritten += family == "DATED" or (bool(new) and rewrites)
        thought = thought and not new
    return 1 + rewritten
