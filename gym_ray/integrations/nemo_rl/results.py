"""A group of rollouts as NeMo-RL's result rows: plain lists, dicts and numpy arrays that unpickle anywhere.

A result is ``{message_log, input_message_log, full_result}``. The log alternates ``user`` (all tokens that were put
in: system, user and tool text) and ``assistant`` (sampled tokens with their logprobs); its tokens, one after the other,
are exactly one segment, so every prompt begins with all tokens before it. ``full_result`` is the rollout row without
token ids. NeMo-RL reads one flag for "do not train on this": ``full_result.instance_config.mask_sample``.

A masked row still counts in the trainer's baselines, and ``reward`` must be a number. One without a verdict therefore
gets the mean reward of its group's other rows, which moves no baseline; ``full_result.gym_ray.reward`` stays null.
Releases that read no mask (v0.5 to v0.7) get that mean on every masked row: an advantage of zero is all that keeps them
from training on it. A rollout without any token gets two of them, and is masked.

Source of the shapes: NeMo-RL's ``environments/nemo_gym.py`` and ``experience/rollouts.py`` (v0.5 to main).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import orjson

from gym_ray.collect.journal.record import to_json
from gym_ray.collect.output.rows import Row, make_row
from gym_ray.integrations.nemo_rl.flags import Flags
from gym_ray.types.items import input_items
from gym_ray.types.outcome import Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.trajectory import Trajectory, Turn

Json = dict[str, Any]
Decode = Callable[[list[list[int]]], list[str]]
History = Literal["mask", "last"]
"""What becomes of a rollout of several segments, of which NeMo-RL takes one: ``mask`` gives the first and masks the
row; ``last`` trains on the last one, which has the final answer."""
NON_CONTIGUOUS, NO_TOKENS = "non_contiguous", "no_tokens"
"""Failure kinds of rows that only this trainer cannot use."""


@dataclass(frozen=True, slots=True)
class ResultMaker:
    """Makes result rows. ``decode``: a tokenizer's ``batch_decode``, for the texts beside each call's last item.

    ``eos``: a token id for rows that have none of their own. ``reads_masks``: the trainer does.
    """

    flags: Flags
    history: History = "mask"
    decode: Decode | None = None
    eos: int = 0
    reads_masks: bool = True

    def group(self, rollouts: Sequence[Rollout]) -> list[Json]:
        """One result per rollout of a group, in order."""
        rows = [make_row(_begun(rollout)) for rollout in rollouts]
        logs = [self._log(row) for row in rows]
        stand_in = neutral([row.rollout.reward for row in rows if self._keeps_reward(row)])
        return [self._result(row, log, stand_in) for row, log in zip(rows, logs, strict=True)]

    def _keeps_reward(self, row: Row) -> bool:
        return row.rollout.reward is not None and (self.reads_masks or not row.fields["mask_sample"])

    def _result(self, row: Row, log: list[Json], stand_in: Reward) -> Json:
        fields, rollout = row.fields, row.rollout
        if not self._keeps_reward(row):
            fields.pop("reward_components", None)
            fields["reward"] = stand_in.value
            if stand_in.components:
                fields["reward_components"] = stand_in.components
        fields["failed"] = rollout.outcome is Outcome.FAILED
        fields["segments"] = len(row.segments)
        full: Json = orjson.loads(to_json(fields))
        for item in full["response"]["output"]:
            item.pop("routed_experts", None)
        self._add_texts(full["response"]["output"], row)
        return {"message_log": log, "input_message_log": log[:1], "full_result": full}

    def _log(self, row: Row) -> list[Json]:
        if not row.segments:
            _mask(row.fields, NO_TOKENS, "the model sampled nothing, or its endpoint gave no token ids")
            return [_put_in([self.eos]), _sampled([self.eos], [0.0], False, False)]
        if len(row.segments) > 1 and self.history == "mask":
            reason = f"history was rewritten: {len(row.segments)} segments, of which this is the first"
            _mask(row.fields, NON_CONTIGUOUS, reason)
        at = 0 if self.history == "mask" else len(row.segments) - 1
        before = sum(len(segment.spans) for segment in row.segments[:at])
        segment, turns = row.segments[at], _turns(row)[before:]
        items = row.fields["response"]["output"]
        log, start = [], 0
        for (prompt_end, sampled_end), turn in zip(segment.spans, turns, strict=False):
            flags = self.flags.of(items[turn.last_item]) if 0 <= turn.last_item < len(items) else (False, False)
            log.append(_put_in(segment.token_ids[start:prompt_end]))
            sampled = slice(prompt_end, sampled_end)
            log.append(_sampled(segment.token_ids[sampled], segment.logprobs[sampled], *flags))
            start = sampled_end
        return log

    def _add_texts(self, items: list[Json], row: Row) -> None:
        """``prompt_str`` and ``generation_str``, which loggers and penalties read."""
        turns = [turn for turn in _turns(row) if 0 <= turn.last_item < len(items)]
        if self.decode is None or not turns:
            return
        prompts = self.decode([turn.tokens.prompt for turn in turns if turn.tokens])
        sampled = self.decode([turn.tokens.sampled for turn in turns if turn.tokens])
        for turn, prompt, text in zip(turns, prompts, sampled, strict=True):
            items[turn.last_item]["prompt_str"], items[turn.last_item]["generation_str"] = prompt, text


def neutral(rewards: Sequence[Reward | None]) -> Reward:
    """The verdict that moves no baseline: the mean of a group's others, component by component."""
    given = [reward for reward in rewards if reward is not None]
    if not given:
        return Reward(0.0)
    names = sorted({name for reward in given for name in reward.components})
    components = {name: sum(one.components.get(name, 0.0) for one in given) / len(given) for name in names}
    return Reward(sum(one.value for one in given) / len(given), components)


def _begun(rollout: Rollout) -> Rollout:
    """With its prompt as its trajectory, if it failed before it had one."""
    if rollout.trajectory is not None:
        return rollout
    return replace(rollout, trajectory=Trajectory(input_items(orjson.loads(rollout.task)["responses_create_params"])))


def _turns(row: Row) -> list[Turn]:
    """The turns that have tokens: one per span, segment by segment."""
    trajectory = row.rollout.trajectory
    return [] if trajectory is None else [turn for turn in trajectory.turns if turn.tokens is not None]


def _mask(fields: Json, kind: str, reason: str) -> None:
    fields["mask_sample"] = True
    fields["instance_config"] = {**fields["instance_config"], "mask_sample": True}
    if fields["failure_kind"] is None:
        fields["failure_kind"], fields["failure_reason"] = kind, reason


def _put_in(ids: list[int]) -> Json:
    # An array keeps its type when it is empty; a list without entries would become floats.
    return {"role": "user", "content": "", "token_ids": np.array(ids, np.int64)}


def _sampled(ids: list[int], logprobs: list[float], invalid_call: bool, malformed: bool) -> Json:
    return {
        "role": "assistant",
        "content": "",
        "token_ids": np.array(ids, np.int64),
        "generation_logprobs": np.array(logprobs, np.float32),
        "is_invalid_tool_call": invalid_call,
        "has_malformed_thinking": malformed,
    }
