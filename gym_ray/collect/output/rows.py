"""Rollout rows: one JSON object per rollout, as NeMo Gym 0.5-0.7 readers and NeMo-RL expect them.

Top level: the task's own fields; over them the environment's (``Reward.extra``); over them the contract:
``responses_create_params`` as sent, ``response`` with all items and the token triplet on the last item of
each model call, ``reward``, ``_ng_task_index`` (the row's own, else the task's number) and so on. All that
is ours alone sits under ``gym_ray``.

``reward`` is always a number, because those readers require one: a masked rollout that was not scored has
0.0 there, ``mask_sample`` true in both places where readers look, and the truth (null) in ``gym_ray.reward``.
Failed rollouts are no rows; :func:`failure_row` says what is known of them. Masked rollouts keep their
tokens as they are: a NaN logprob is null, and several segments stay several. ``gym_ray.segments`` has one entry
each: ``length`` in tokens; per turn its span ``[prompt_end, sampled_end]`` and its policy version, one int or one
per sampled token. A row with more than one is refused by NeMo-RL's reader ("Non-contiguous messages found!"),
which takes one chain per row: give it the segments one by one, or collect with ``model.keep_reasoning=true``.

Sources: NeMo Gym's rollout files and failure vocabulary, NeMo-RL's result post-processing, the OpenAI
Responses API reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from gym_ray.collect.journal.record import to_json
from gym_ray.types.items import TOKEN_FIELDS, Item
from gym_ray.types.outcome import Outcome
from gym_ray.types.response import response_of
from gym_ray.types.rollout import Rollout
from gym_ray.types.tokens import Segment, TurnTokens, segments_of
from gym_ray.types.trajectory import Trajectory

Json = dict[str, Any]

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "max_output_tokens", "seed", "stop", "reasoning", "tool_choice")
"""Create parameters that say how tokens were sampled."""


@dataclass(slots=True)
class Row:
    """A scored or masked rollout, ready for either format.

    ``fields``: the JSONL row, but for the token triplets in ``response.output``. ``segments``: the tokens.
    """

    rollout: Rollout
    fields: Json
    segments: list[Segment]


def make_row(rollout: Rollout) -> Row:
    """The row of a scored or masked rollout."""
    turns = rollout.trajectory.turns if rollout.trajectory is not None else ()
    tokens = [turn.tokens for turn in turns if turn.tokens is not None]
    segments = segments_of(tokens)
    return Row(rollout, _fields(rollout, tokens, segments), segments)


def to_jsonl(row: Row) -> bytes:
    """The row as one line, newline included."""
    fields, trajectory = row.fields, row.rollout.trajectory
    if row.segments and trajectory is not None:
        fields = {**fields, "response": {**fields["response"], "output": with_token_fields(trajectory)}}
    return to_json(fields) + b"\n"


def _fields(rollout: Rollout, tokens: list[TurnTokens], segments: list[Segment]) -> Json:
    task: Json = orjson.loads(rollout.task)
    trajectory = rollout.trajectory or Trajectory(task["responses_create_params"].get("input") or [])
    reward, failure = rollout.reward, rollout.failure
    masked = rollout.outcome is not Outcome.SCORED
    row = task if reward is None else {**task, **reward.extra}
    row["responses_create_params"] = {**rollout.params, "input": trajectory.input}
    name = f"resp_{rollout.task_number}_{rollout.rollout_index}"
    row["response"] = response_of(trajectory, rollout.params, name, rollout.started)
    row["reward"] = float(reward.value) if reward is not None else 0.0
    row["reward_components"] = reward.components if reward is not None else {}
    if not row["reward_components"]:
        del row["reward_components"]
    row["_ng_task_index"] = task.get("_ng_task_index", rollout.task_number)
    row["_ng_rollout_index"] = rollout.rollout_index
    row["agent_ref"] = task.get("agent_ref") or {"name": rollout.agent}
    row["task_source"] = task.get("task_source") or rollout.environment
    row["mask_sample"] = masked
    row["instance_config"] = {**_as_dict(task.get("instance_config")), "mask_sample": masked}
    row["failure_kind"] = failure.kind if failure is not None else None
    row["failure_reason"] = failure.reason if failure is not None else None
    row["gym_ray"] = {**_ours(rollout, trajectory), **_sampled(rollout, tokens, segments)}
    return row


def with_token_fields(trajectory: Trajectory) -> list[Item]:
    """All items, with the token triplet on the last item of each model call that has tokens."""
    items = list(trajectory.items)
    for turn in trajectory.turns:
        tokens = turn.tokens
        if tokens is not None and 0 <= turn.last_item < len(items):
            triplet = (tokens.prompt, tokens.sampled, tokens.logprobs)
            items[turn.last_item] = {**items[turn.last_item], **dict(zip(TOKEN_FIELDS, triplet, strict=True))}
    return items


def failure_row(rollout: Rollout) -> bytes:
    """What is known of a failed rollout, as one line: which, why, where, and what it did until then."""
    failure, trajectory = rollout.failure, rollout.trajectory
    row = {
        "task_id": rollout.task_id,
        "_ng_task_index": rollout.task_number,
        "_ng_rollout_index": rollout.rollout_index,
        "environment": rollout.environment,
        "agent": rollout.agent,
        "kind": failure.kind if failure is not None else None,
        "stage": failure.stage if failure is not None else None,
        "reason": failure.reason if failure is not None else None,
        "terminal": failure.terminal if failure is not None else None,
        "attempt": rollout.attempt,
        "started": rollout.started,
        "finished": rollout.finished,
        "timings": rollout.timings,
        "items": trajectory.items if trajectory is not None else [],
        "task": orjson.loads(rollout.task),
    }
    return to_json(row) + b"\n"


def _ours(rollout: Rollout, trajectory: Trajectory) -> Json:
    return {
        "task_id": rollout.task_id,
        "task_number": rollout.task_number,
        "rollout_index": rollout.rollout_index,
        "environment": rollout.environment,
        "agent": rollout.agent,
        "outcome": rollout.outcome,
        "reward": rollout.reward.value if rollout.reward is not None else None,
        "failure_stage": rollout.failure.stage if rollout.failure is not None else None,
        "attempt": rollout.attempt,
        "finish_reason": trajectory.finish_reason,
        "num_turns": len(trajectory.turns),
        "turn_seconds": [turn.seconds for turn in trajectory.turns],
        "step_rewards": trajectory.step_rewards,
        "started": rollout.started,
        "finished": rollout.finished,
        "timings": rollout.timings,
    }


def _sampled(rollout: Rollout, tokens: list[TurnTokens], segments: list[Segment]) -> Json:
    """How the tokens were sampled, and where each turn's lie."""
    versions = (turn.version if isinstance(turn.version, list) else (turn.version,) for turn in tokens)
    turns = iter(tokens)
    return {
        "segments": [
            {
                "length": len(segment.token_ids),
                "spans": segment.spans,
                "versions": [turn.version for turn in islice(turns, len(segment.spans))],
            }
            for segment in segments
        ],
        "policy_versions": sorted(set().union(*versions)),
        "sampling": {name: rollout.params[name] for name in SAMPLING if name in rollout.params},
    }


def _as_dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
