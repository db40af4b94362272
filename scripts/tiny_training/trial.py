"""Measuring a policy on held-out tasks with transformers: the same rewards, without Ray and without vLLM.

Sampling at temperature 1. The tool loop is the plain one: run the calls, show the outputs, at most ``MAX_TURNS``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from math import comb
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from gym_ray.models.chat import chat_params
from gym_ray.models.serve.messages import template_messages
from gym_ray.resources.server import Session
from gym_ray.resources.toolbox import Toolbox
from gym_ray.types.items import (
    Item,
    assistant_message,
    function_call,
    function_call_output,
    function_calls,
    input_items,
    reasoning,
)
from gym_ray.types.trajectory import Trajectory

from .experts import Course, held_out

MAX_TURNS = 6
MAX_NEW = 160
ROWS_AT_ONCE = 64
_TURN = re.compile(r"(?:<think>(.*?)</think>)?(.*?)((?:<tool_call>.*?</tool_call>\s*)*)", re.DOTALL)
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


@dataclass(frozen=True)
class Score:
    """What ``rollouts`` samples of each of ``tasks`` tasks earned."""

    tasks: int
    rollouts: int
    mean: float
    pass_at_all: float
    """Share of tasks with at least one reward of 1 among the rollouts."""


@dataclass
class _Rollout:
    row: dict[str, Any]
    session: Session
    items: list[Item]
    asked: int
    open: bool = True


async def measure(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, course: Course, tasks: int, rollouts: int
) -> Score:
    """Mean reward and pass@``rollouts`` over the first ``tasks`` held-out tasks."""
    toolbox = Toolbox(course.server, 10.0)
    tools = chat_params({"tools": toolbox.definitions}).get("tools")
    played = []
    for row in held_out(course.name, tasks):
        items = input_items(row["responses_create_params"])
        for _ in range(rollouts):
            session = await course.server.seed(course.server.Task.model_validate(row))
            played.append(_Rollout(row, session, list(items), len(items)))
    for _ in range(MAX_TURNS):
        going = [rollout for rollout in played if rollout.open]
        prompts = [_prompt(rollout, tools, tokenizer) for rollout in going]
        for rollout, said in zip(going, _sample(model, tokenizer, prompts), strict=True):
            await _play(rollout, said, toolbox)
    rewards = [await _reward(course, rollout) for rollout in played]
    groups = [rewards[at : at + rollouts] for at in range(0, len(rewards), rollouts)]
    return Score(
        len(groups), rollouts, sum(rewards) / len(rewards), sum(1 - missed(group) for group in groups) / len(groups)
    )


def missed(group: list[float], k: int | None = None) -> float:
    """Chance that ``k`` of the group's rollouts (default: all) hold no full reward."""
    k = k or len(group)
    wrong = sum(reward < 1 for reward in group)
    return comb(wrong, k) / comb(len(group), k)


def _prompt(rollout: _Rollout, tools: Any, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    messages = template_messages(rollout.items)
    text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


@torch.no_grad()
def _sample(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[list[int]]) -> list[str]:
    """One sampled turn per prompt, its end mark cut off."""
    said = []
    for start in range(0, len(prompts), ROWS_AT_ONCE):
        some = prompts[start : start + ROWS_AT_ONCE]
        width = max(map(len, some))
        ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(one)) + one for one in some])
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in some])
        out = model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=MAX_NEW,
            eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
            pad_token_id=tokenizer.pad_token_id,
        )
        for one in out[:, width:].tolist():
            ended = one.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in one else len(one)
            said.append(tokenizer.decode(one[:ended], skip_special_tokens=False))
    return said


async def _play(rollout: _Rollout, said: str, toolbox: Toolbox) -> None:
    """Take one turn: its items, and the outputs of its calls. A turn without calls is the last."""
    match = _TURN.fullmatch(said)
    thought, text, calls = match.groups() if match else (None, said, "")
    turn: list[Item] = [reasoning(thought)] if thought else []
    turn += [assistant_message(text)] if text else []
    for number, call in enumerate(_CALL.findall(calls)):
        try:
            read = json.loads(call)
            arguments = json.dumps(read["arguments"])
            turn.append(function_call(str(read["name"]), arguments, f"call_{len(rollout.items)}_{number}"))
        except (ValueError, KeyError, TypeError):
            turn.append(assistant_message(call))
    rollout.items += turn
    for call_item in function_calls(turn):
        arguments = json.loads(call_item["arguments"])
        output = await toolbox.call(rollout.session, call_item["name"], arguments)
        rollout.items.append(function_call_output(call_item["call_id"], output))
    rollout.open = bool(function_calls(turn))


async def _reward(course: Course, rollout: _Rollout) -> float:
    task = course.server.Task.model_validate(rollout.row)
    trajectory = Trajectory.of_items(rollout.items[rollout.asked :])
    reward = await course.server.verify(task, trajectory, rollout.session)
    value: float = reward.value if hasattr(reward, "value") else float(reward)
    return value
