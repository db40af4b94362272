"""The journal's payload: one rollout as bytes, and back, exactly.

Layout: ``<II`` lengths of head and task; the head (JSON); the task row as it was given; token ids (int32);
logprobs of sampled ids (float32 when that loses nothing, else float64). Ids are stored once per contiguous
segment, whatever the number of turns; a turn's prompt is a prefix of its segment, so spans bring it back.

Invariant: ``decode(encode(rollout)) == rollout`` for every rollout of JSON values and finite rewards. What an
environment's own fields hold beyond JSON is stored as its text: an odd field must not cost a rollout.
"""

from __future__ import annotations

import struct
from array import array
from itertools import groupby
from typing import Any

import numpy as np
import orjson

from gym_ray.types.outcome import Failure, Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.tokens import TurnTokens, segments_of
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage

_LENGTHS = struct.Struct("<II")
_MAX_DEPTH = 100


def encode(rollout: Rollout) -> bytes:
    """The record of ``rollout``. Raises ValueError when a turn's logprobs and sampled ids differ in number."""
    trajectory, reward, failure = rollout.trajectory, rollout.reward, rollout.failure
    tokens = b""
    turns: list[list[Any]] = []
    segments: list[list[int]] = []
    logprob_bytes = 4
    if trajectory is not None:
        turns = [_turn(turn) for turn in trajectory.turns]
        given = [turn.tokens for turn in trajectory.turns if turn.tokens is not None]
        if given:
            segments, logprob_bytes, tokens = _pack(given)
    head = {
        "task": (rollout.task_number, rollout.task_id, rollout.rollout_index, rollout.environment, rollout.agent),
        "params": rollout.params,
        "outcome": rollout.outcome,
        "reward": (reward.value, reward.components, reward.extra) if reward is not None else None,
        "failure": (failure.kind, failure.stage, failure.reason, failure.terminal) if failure is not None else None,
        "when": (rollout.attempt, rollout.started, rollout.finished, rollout.timings),
        "input": trajectory.input if trajectory is not None else None,
        "items": trajectory.items if trajectory is not None else (),
        "end": (trajectory.finish_reason, trajectory.step_rewards, trajectory.model) if trajectory is not None else (),
        "turns": turns,
        "segments": segments,
        "logprob_bytes": logprob_bytes,
    }
    text = to_json(head)
    return b"".join((_LENGTHS.pack(len(text), len(rollout.task)), text, rollout.task, tokens))


def decode(payload: bytes) -> Rollout:
    """The rollout that was encoded."""
    head_bytes, task_bytes = _LENGTHS.unpack_from(payload)
    task_at = _LENGTHS.size + head_bytes
    head = orjson.loads(payload[_LENGTHS.size : task_at])
    number, task_id, index, environment, agent = head["task"]
    attempt, started, finished, timings = head["when"]
    return Rollout(
        number,
        task_id,
        index,
        environment,
        agent,
        payload[task_at : task_at + task_bytes],
        head["params"],
        Outcome(head["outcome"]),
        _trajectory(head, payload, task_at + task_bytes),
        _reward(head["reward"]),
        Failure(*head["failure"]) if head["failure"] is not None else None,
        attempt,
        started,
        finished,
        timings,
    )


def to_json(value: Any) -> bytes:
    """``value`` as JSON. What JSON cannot say becomes its text; that is slow, and rare."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(_plain(value, _MAX_DEPTH))


def _plain(value: Any, depth: int) -> Any:
    """``value`` in JSON's terms: odd keys, numbers, text and objects as text."""
    if isinstance(value, bool | float) or value is None or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, dict) and depth:
        return {str(_plain(str(key), 1)): _plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [_plain(item, depth - 1) for item in value]
    if isinstance(value, np.ndarray | np.generic) and depth:
        return _plain(value.tolist(), depth - 1)
    return str(value).encode(errors="replace").decode()


def _turn(turn: Turn) -> list[Any]:
    usage = turn.usage
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens)
    version: Any = turn.tokens.version if turn.tokens is not None else None
    if isinstance(version, list):
        version = [(value, len(list(run))) for value, run in groupby(version)]
    return [turn.last_item, turn.finish_reason, counts, turn.seconds, version]


def _pack(turns: list[TurnTokens]) -> tuple[list[list[int]], int, bytes]:
    """Segments as ``[length, prompt_end, sampled_end, prompt_end, ...]``, bytes per logprob, ids and logprobs."""
    if any(len(turn.logprobs) != len(turn.sampled) for turn in turns):
        raise ValueError("a turn has not as many logprobs as sampled ids")
    segments = segments_of(turns)
    spans = [[len(segment.token_ids), *(at for span in segment.spans for at in span)] for segment in segments]
    ids = array("i", [token for segment in segments for token in segment.token_ids])
    exact = np.array([value for turn in turns for value in turn.logprobs], np.float64)
    with np.errstate(over="ignore"):
        short = exact.astype(np.float32)
    logprobs = short if np.array_equal(short.astype(np.float64), exact, equal_nan=True) else exact
    return spans, logprobs.itemsize, ids.tobytes() + logprobs.tobytes()


def _trajectory(head: dict[str, Any], payload: bytes, at: int) -> Trajectory | None:
    if head["input"] is None:
        return None
    tokens = iter(_unpack(head, payload, at))
    turns = []
    for last_item, finish_reason, counts, seconds, version in head["turns"]:
        its = next(tokens) if version is not None else None
        if its is not None:
            its.version = version if isinstance(version, int) else [v for v, count in version for _ in range(count)]
        turns.append(Turn(last_item, FinishReason(finish_reason), Usage(*counts), its, seconds))
    finish_reason, step_rewards, model = head["end"]
    return Trajectory(head["input"], head["items"], turns, FinishReason(finish_reason), step_rewards, model)


def _unpack(head: dict[str, Any], payload: bytes, at: int) -> list[TurnTokens]:
    """The tokens of each turn that has some, in order."""
    segments = head["segments"]
    ids_end = at + 4 * sum(segment[0] for segment in segments)
    ids = np.frombuffer(payload[at:ids_end], np.int32).tolist()
    logprobs = np.frombuffer(payload[ids_end:], np.float32 if head["logprob_bytes"] == 4 else np.float64).tolist()
    turns = []
    begin = used = 0
    for length, *spans in segments:
        segment = ids[begin : begin + length]
        for prompt_end, sampled_end in zip(spans[::2], spans[1::2], strict=True):
            count = sampled_end - prompt_end
            sampled = segment[prompt_end:sampled_end]
            turns.append(TurnTokens(segment[:prompt_end], sampled, logprobs[used : used + count]))
            used += count
        begin += length
    return turns


def _reward(parts: list[Any] | None) -> Reward | None:
    if parts is None:
        return None
    value, components, extra = parts
    return Reward(float("nan") if value is None else value, components, extra)
